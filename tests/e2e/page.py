"""Pages whose commands are run as they are written: their blocks, and the one terminal in which they are typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 400


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    """Of the first command."""


def blocks(page: Path, section: str = "") -> list[Block]:
    """Those of the page, or of the section with that heading alone, which must be there."""
    text = page.read_text()
    found = [Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1) for match in BLOCK.finditer(text)]
    if not section:
        return found
    lines = text.splitlines()
    first = lines.index(f"## {section}") + 1
    last = next((number for number, line in enumerate(lines[first:], first + 1) if line.startswith("## ")), len(lines) + 1)
    return [block for block in found if first < block.line < last]


class Terminal:
    """Remembers what is exported in it, and ends what was left running in the background of it."""

    def __init__(self, environ: Mapping[str, str], directory: Path, keeps: Callable[[str], bool] = lambda line: True) -> None:
        """`directory` is for what it remembers. `keeps`: which lines are run."""
        self._exported = directory / "exported"
        self._environ = {**environ, "EXPORTED": str(self._exported)}
        self._keeps = keeps
        self._sessions: list[int] = []

    def type(self, block: Block) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            self._argv(block),
            env=self._environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._sessions.append(process.pid)
        output, errors = process.communicate(timeout=SECONDS)
        if block.language == "bash" and process.returncode == 0:
            self._environ = dict(line.split("=", 1) for line in self._exported.read_text().split("\0") if "=" in line)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def must_run(self, block: Block) -> str:
        """Types it, shows what came, and fails unless it went well. What it printed on both channels."""
        done = self.type(block)
        print(f"\n$ {block.text}{done.stdout}{done.stderr[-2000:]}")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def close(self) -> None:
        for session in self._sessions:
            with suppress(ProcessLookupError):
                os.killpg(session, signal.SIGTERM)

    def _argv(self, block: Block) -> list[str]:
        if block.language == "python":
            return ["python", "-c", block.text]
        kept = "".join(line for line in block.text.splitlines(keepends=True) if self._keeps(line.strip()))
        # What a block exports holds for those after it, as in the one terminal that a page speaks of.
        return ["bash", "-euo", "pipefail", "-c", f'{kept}\nenv -0 > "$EXPORTED"']
