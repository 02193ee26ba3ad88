"""Writes docs/up.svg, the picture in the README: `python docs/record.py` runs real commands in a terminal of their own and draws what they
leave on its screen. Its cluster lives in a state directory of its own and is taken down at the end.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "matrix up examples/quickstart.yaml",
    "matrix get",
    'matrix chat smollm2 --temperature 0 "What is the capital of France?"',
)
ROWS, COLUMNS = 50, 100
PROMPT = "\x1b[1;32m$\x1b[0m "
_SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r\n|\n|\r)")
_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)


class Screen:
    """As much of a terminal as rich's live display needs: lines, moving up, erasing a line, colours kept as they are."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = 0
        self._returned = False

    def feed(self, output: str) -> list[str]:
        """The lines on the screen after some output."""
        position = 0
        for match in _SEQUENCE.finditer(output):
            self._write(output[position : match.start()])
            self._obey(match[1] or "", match[2] or match[3])
            position = match.end()
        self._write(output[position:])
        return self._lines

    def _write(self, text: str) -> None:
        if text:
            kept = "" if self._returned else self._lines[self._row]
            self._lines[self._row] = kept + text
            self._returned = False

    def _obey(self, parameters: str, command: str) -> None:
        if command == "m":
            self._write(f"\x1b[{parameters}m")
        elif command == "A":
            self._row = max(0, self._row - int(parameters or 1))
        elif command == "K":
            self._lines[self._row] = ""
        elif command == "\r":
            self._returned = True
        elif command in ("\n", "\r\n"):
            self._row += 1
            self._lines += [""] * (self._row + 1 - len(self._lines))
            self._returned = False


def run(command: str, environ: dict[str, str]) -> str:
    """The output of a command on a terminal. Ends this program when it fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.chdir(ROOT)
        os.execvpe("/bin/sh", ["/bin/sh", "-c", command], environ)
    output = b""
    while piece := _read(terminal):
        output += piece
    _, status = os.waitpid(pid, 0)
    text = output.decode(errors="replace")
    if status:
        sys.exit(f"{command} failed:\n{text}")
    return text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says EIO when the other side has closed
        return b""


def picture(lines: list[str], title: str) -> str:
    """The SVG; without fonts from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text.from_ansi("\n".join(lines)))
    return _FONT.sub("", console.export_svg(title=title))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "up.svg")
    parser.add_argument("commands", nargs="*", default=COMMANDS, help="instead of those of the README")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="record-") as home:
        environ = os.environ | {"MATRIX_HOME": home, "TERM": "xterm-256color", "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
        environ.pop("NO_COLOR", None)
        lines = []
        try:
            for command in given.commands:
                lines += [f"{PROMPT}{command}", *Screen().feed(run(command, environ))]
        finally:
            run("matrix get -o name | xargs -r matrix down && matrix controller stop", environ)
    given.output.write_text(picture(lines, "matrix"))
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
