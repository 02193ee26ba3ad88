"""A cluster that the tests of a module share, and a table of what was measured, below pytest's own summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.product.inside import MODEL, Inside
from tests.e2e.product.outage import Outage
from tests.e2e.product.product import Product, cluster, dummy

_LINES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_LINES]:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Adds a line to the table."""
    return pytestconfig.stash[_LINES].append


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    with Product() as product:
        product.apply(cluster("one"), dummy(MODEL, "one", engine={"dummy": {"tokensPerSecond": 20}}))
        product.wait(f"mxd/{MODEL}")
        product.wait("mxc/one")
        yield Inside(product, "one")


@pytest.fixture
def outage(inside: Inside) -> Iterator[Outage]:
    with Outage(inside, MODEL) as outage:
        yield outage
