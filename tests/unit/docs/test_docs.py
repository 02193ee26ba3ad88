"""The documentation against the tree: what it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from bench.__main__ import BENCHES
from tests.e2e.page import blocks

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = ROOT / "docs" / "decisions"
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
NAMED_FILE = re.compile(r"`((?:tests|bench|docs|examples|requirements)/[\w/.]+\.\w+)")
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)[^)]*\)")


@cache
def functions(path: Path) -> frozenset[str]:
    """The names of a module's functions, by reading it."""
    return frozenset(
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, name in NAMED_TEST.findall(page.read_text()):
        assert (ROOT / file).is_file(), file
        assert name in functions(ROOT / file), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_file_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in LINK.findall(text):
        assert "://" in target or (page.parent / target).exists(), target
    for file in NAMED_FILE.findall(text):
        assert (ROOT / file).exists(), file


def test_every_fault_is_held_by_a_test() -> None:
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ") and "fault |" not in line]
    assert len(rows) > 30
    assert [row for row in rows if not NAMED_TEST.search(row)] == []


def test_the_page_for_slurm_sites_has_no_command_that_no_test_types() -> None:
    page = ROOT / "docs" / "slurm.md"
    typed = [block for section in ("Set it up, once", "A first cluster", "From Kubernetes") for block in blocks(page, section)]
    assert typed == blocks(page) and page.read_text().count("```") == 2 * len(typed) > 0


def test_every_page_is_reached_from_the_readme() -> None:
    targets = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= targets
    assert {page.name for page in DECISIONS.glob("[0-9]*.md")} == set(LINK.findall((DECISIONS / "README.md").read_text()))


def test_a_decision_is_short_and_says_context_decision_and_consequence() -> None:
    for page in DECISIONS.glob("[0-9]*.md"):
        text = page.read_text()
        assert len(text.splitlines()) < 40, page
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequence")), page


def test_every_bench_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    assert described == list(BENCHES)
