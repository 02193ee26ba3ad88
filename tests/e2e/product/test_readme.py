"""README's commands, exactly as they are written and in their order, typed in this checkout by somebody whose state directory is new."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.product.product import Product

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNS_THIS = "make test"
"""The one command that is left out: it is what runs this."""

pytestmark = pytest.mark.timeout(420)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    """Of the first command."""

    @property
    def argv(self) -> list[str]:
        if self.language == "python":
            return ["python", "-c", self.text]
        kept = "".join(line for line in self.text.splitlines(keepends=True) if line.strip() != RUNS_THIS)
        # What a block exports holds for those after it, as in the one terminal that README speaks of.
        return ["bash", "-euo", "pipefail", "-c", f'{kept}\nenv -0 > "$EXPORTED"']


def blocks() -> list[Block]:
    text = (ROOT / "README.md").read_text()
    return [Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1) for match in BLOCK.finditer(text)]


class Terminal:
    """Remembers what is exported in it."""

    def __init__(self, product: Product) -> None:
        self._exported = product.home.root / "exported"
        self._environ = product.environ | {"EXPORTED": str(self._exported)}

    def type(self, block: Block) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(block.argv, env=self._environ, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        if block.language == "bash" and done.returncode == 0:
            self._environ = dict(line.split("=", 1) for line in self._exported.read_text().split("\0") if "=" in line)
        return done


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with Product() as product:
        yield Terminal(product)


@pytest.mark.skipif(not (ROOT / ".venv" / ".cpu").exists(), reason="README sets up by make, which would install into this environment")
@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"line-{block.line}")
def test_a_block_of_the_readme_runs_as_written(terminal: Terminal, block: Block) -> None:
    done = terminal.type(block)
    print(f"\n$ {block.text}{done.stdout}{done.stderr[-2000:]}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_has_its_main_commands() -> None:
    """Or the test above would prove nothing."""
    text = "".join(block.text for block in blocks())
    assert all(command in text for command in ("make quickstart", RUNS_THIS, "matrix down", "from matrix_client import"))
    assert os.access(ROOT / "Makefile", os.R_OK)
