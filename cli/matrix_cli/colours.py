"""Whether to colour at all."""

from __future__ import annotations

from collections.abc import Mapping


def coloured(environ: Mapping[str, str]) -> bool:
    """False where the user wants none (https://no-color.org) or the terminal can't. Without a terminal click drops them anyway."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
