"""Reading a log that grows: its last lines first, then what is added; from the start when it was replaced or cut."""

from __future__ import annotations

from pathlib import Path

BLOCK_BYTES = 65_536


class Tail:
    """One file. Lines come whole: one that is still being written comes when it is finished."""

    def __init__(self, path: Path, lines: int) -> None:
        """Begin `lines` lines before the end."""
        self._path = path
        self._inode = path.stat().st_ino if path.exists() else 0
        self._offset = offset_of_last_lines(path, lines)

    def new_lines(self) -> list[str]:
        """The lines that were added since the last call."""
        try:
            state = self._path.stat()
            if state.st_ino != self._inode or state.st_size < self._offset:
                self._inode, self._offset = state.st_ino, 0
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace").splitlines()


def offset_of_last_lines(path: Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin, in bytes; reads only its end."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        position = file.seek(0, 2)
        found = b""
        # One more end of line than lines: the one before the first of them.
        while position > 0 and found.count(b"\n") <= lines:
            step = min(BLOCK_BYTES, position)
            position -= step
            file.seek(position)
            found = file.read(step) + found
    kept = found.splitlines(keepends=True)[-lines:] if lines else []
    return position + len(found) - sum(map(len, kept))
