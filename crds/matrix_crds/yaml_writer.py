"""Plain data as YAML that we, and kubectl, read back as it was: PyYAML itself leaves y, 0o10 and 1e3 without quotes."""

from __future__ import annotations

from typing import Any

import yaml

from matrix_crds.scalars import resolved


class _Writer(yaml.SafeDumper):
    """Text that would be read as something else is put in quotes."""


def _text(writer: _Writer, value: str) -> yaml.ScalarNode:
    style = None if isinstance(resolved(value), str) else "'"
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Writer.add_representer(str, _text)


def yaml_text(data: Any, *, width: int = 100, flow: bool = False) -> str:
    """The text, with the keys in their order; with `flow` in braces and brackets."""
    text: str = yaml.dump(data, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=width, default_flow_style=flow)
    return text
