"""A file system that is really full."""

from __future__ import annotations

from pathlib import Path


def fill(directory: Path) -> Path:
    """Leave no room on a file system; the file that takes it."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler
