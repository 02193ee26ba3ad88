"""Quantities mean what Kubernetes means by them."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_crds import patterns, quantity


@pytest.mark.parametrize(
    ("text", "value", "whole"),
    [
        ("4", Decimal(4), 4),
        ("0.5", Decimal("0.5"), 1),
        ("500m", Decimal("0.5"), 1),
        ("1500m", Decimal("1.5"), 2),
        ("0", Decimal(0), 0),
        ("1k", Decimal(1000), 1000),
        ("8Gi", Decimal(8 * 1024**3), 8 * 1024**3),
        ("1.5Gi", Decimal(1536 * 1024**2), 1536 * 1024**2),
        ("128M", Decimal(128_000_000), 128_000_000),
        ("2Ti", Decimal(2 * 1024**4), 2 * 1024**4),
    ],
)
def test_a_quantity_has_its_value(text: str, value: Decimal, whole: int) -> None:
    assert quantity.parse(text) == value
    assert quantity.whole(text) == whole


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1e3", "1.", ".5", "4 Gi", "4\n", "4GB", "4gi", "٣"])
def test_what_is_no_quantity_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 4, 500m or 8Gi"):
        quantity.parse(text)


@given(st.from_regex(patterns.CPU.regex, fullmatch=True) | st.from_regex(patterns.MEMORY.regex, fullmatch=True))
def test_what_the_schema_lets_through_has_a_value(text: str) -> None:
    if text.isascii() and "\n" not in text:
        assert quantity.parse(text) >= 0


@pytest.mark.parametrize("pattern", patterns.BY_REGEX.values(), ids=lambda pattern: pattern.regex)
def test_a_pattern_has_nothing_that_its_readers_take_differently(pattern: patterns.Pattern) -> None:
    """Classes such as \\s are of Unicode for Rust and Python, of ASCII for RE2; (? and \\u begin what one of them lacks."""
    assert not re.search(r"\\[swdbSWDBpPu]|\(\?", pattern.regex)
    assert pattern.regex.startswith("^") and pattern.regex.endswith("$")


@pytest.mark.parametrize("pattern", patterns.BY_REGEX.values(), ids=lambda pattern: pattern.regex)
def test_the_example_of_a_pattern_fits_it(pattern: patterns.Pattern) -> None:
    assert re.search(pattern.regex, pattern.example)
