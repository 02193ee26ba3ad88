"""README's commands, exactly as they are written and in their order, typed in this checkout by somebody whose state directory is new."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.page import ROOT, Block, Terminal, blocks
from tests.e2e.product.product import Product

README = ROOT / "README.md"
RUNS_THIS = "make test"
"""The one command that is left out: it is what runs this."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with Product() as product:
        typed = Terminal(product.environ, product.home.root, lambda line: line != RUNS_THIS)
        yield typed
        typed.close()


@pytest.mark.skipif(not (ROOT / ".venv" / ".cpu").exists(), reason="README sets up by make, which would install into this environment")
@pytest.mark.parametrize("block", blocks(README), ids=lambda block: f"line-{block.line}")
def test_a_block_of_the_readme_runs_as_written(terminal: Terminal, block: Block) -> None:
    terminal.must_run(block)


def test_the_readme_has_its_main_commands() -> None:
    """Or the test above would prove nothing."""
    text = "".join(block.text for block in blocks(README))
    assert all(command in text for command in ("make quickstart", RUNS_THIS, "matrix down", "from matrix_client import"))
    assert os.access(ROOT / "Makefile", os.R_OK)
