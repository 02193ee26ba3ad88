"""Writes the table of the chart's values in docs/helm.md, from the comments in values.yaml. `python charts/values_table.py [--check]`.

Each value has the comment `# -- what it is` before it, which may go on in more lines; a value that is made of others has none, or one
without the dashes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VALUES = ROOT / "charts/matrix-operator/values.yaml"
PAGE = ROOT / "docs/helm.md"
COMMAND = "python charts/values_table.py"
BEGIN = f"<!-- from charts/matrix-operator/values.yaml by `{COMMAND}`; do not edit -->\n"
END = "<!-- the end of the table -->\n"
MARK = "# -- "


class Undocumented(Exception):
    """A value without a comment."""


@dataclass(frozen=True)
class Value:
    """One line of the table."""

    name: str
    """With dots, as `--set` has it."""
    default: Any
    text: str


def values(source: str) -> Iterator[Value]:
    """All of a values file, in its order. Raises Undocumented."""
    top = yaml.compose(source)
    assert isinstance(top, yaml.MappingNode)
    yield from _below(top, yaml.safe_load(source), source.splitlines(), "")


def _below(node: yaml.MappingNode, data: dict[str, Any], lines: Sequence[str], prefix: str) -> Iterator[Value]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        text = comment(lines, key.start_mark.line)
        if text:
            yield Value(name, data[key.value], text)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _below(value, data[key.value], lines, f"{name}.")
        else:
            raise Undocumented(f"line {key.start_mark.line + 1}: {name} has no comment `{MARK}...`")


def comment(lines: Sequence[str], line: int) -> str:
    """What stands before that line, counted from 0; empty without the dashes."""
    found: list[str] = []
    for above in reversed(lines[:line]):
        stripped = above.strip()
        if not stripped.startswith("#"):
            break
        found.insert(0, stripped.removeprefix(MARK).removeprefix("# "))
        if stripped.startswith(MARK):
            return " ".join(found)
    return ""


def table(source: str) -> str:
    """As Markdown."""
    rows = [f"| {value.name} | {_default(value.default)} | {_cell(value.text)} |" for value in values(source)]
    return "\n".join(["| value | default | is |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    return "" if value in ("", None) else f"`{_cell(value if isinstance(value, str) else json.dumps(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(text: str, source: str) -> str:
    """The page with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(source) + END + after


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 1 when --check finds the page stale."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is stale")
    options = parser.parse_args(arguments)
    old = PAGE.read_text()
    new = page(old, VALUES.read_text())
    if new == old:
        return 0
    if options.check:
        print(f"{PAGE} is stale; run: {COMMAND}", file=sys.stderr)
        return 1
    PAGE.write_text(new)
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
