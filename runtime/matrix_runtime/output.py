"""What a child process prints: copied to our own standard output, so that Ray's log files have it, and its last lines kept."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque

KEPT_LINES = 400
CHUNK = 65536
STANDARD_OUTPUT = 1
_LINE_END = re.compile(rb"[\r\n]+")  # progress bars end their lines with \r


class Output:
    """The last lines of a stream of bytes."""

    def __init__(self, copy_to: int = STANDARD_OUTPUT) -> None:
        self._copy_to = copy_to
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""

    async def copy(self, stream: asyncio.StreamReader) -> None:
        """Until its end."""
        while chunk := await stream.read(CHUNK):
            os.write(self._copy_to, chunk)
            self.feed(chunk)

    def feed(self, chunk: bytes) -> None:
        """Takes bytes as they come."""
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        self._rest = self._rest[-CHUNK:]
        self._lines.extend(_readable(line) for line in lines if line.strip())

    def last(self, count: int = KEPT_LINES) -> tuple[str, ...]:
        """The last `count` lines, the unfinished one included."""
        rest = (_readable(self._rest),) if self._rest.strip() else ()
        return (*self._lines, *rest)[-count:]


def _readable(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()[:1000]
