"""What may be put in the place of a field's value, from its schema: values at the bounds, beyond them, and of every wrong sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.e2e.kubernetes.schemas import Node

DROP = object()
"""Instead of a value: the field goes."""

WRONG: tuple[Any, ...] = (None, True, 7, 1.5, "text", [], {}, ["x"], {"x": 1})
NUMBERS = (-1, 0, 1, 3.0, 1e3, 2.5, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, "1", "1e3")
QUANTITIES = (
    "", "0", "0m", "1", "007", "1e3", "1E3", "1.", ".5", "0.5", "-1", "+1", "4 Gi", "4gi", "4GB", "1Ei", "1P", "1m", "100k", "1.5Gi",
    "0.1Ti", "123456", "1234567", "8Gi\n", " 8Gi", "٣", "1" * 15, "1" * 16, "1" * 18, "1" * 20, "1" * 21,
    -1, 0, 1, 4.0, 0.5, 1e3, 999_999, 1_000_000, 1e6, 10**15 - 1, 10**15, 10**18, 2**53, 2**63 - 1, 2**63, 10**19,
)  # fmt: skip
TIMES = (
    "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456+05:30", "2024-02-29T00:00:00-00:00", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z",
    "2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-01-31T12:00Z",
    "2026-01-31t12:00:00z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:60Z", "2026-01-31T12:00:00+99:99", "2026-01-31T12:00:00+0100",
    "2026-01-31T12:00:00.1234567890Z", "2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00ZT", "2026-01-31T12:00:00Z ", "12026-01-31T12:00:00Z",
    "1769860800", 1769860800, "now", "",
)  # fmt: skip
KEYS = ("", " ", "a b", "ü", "1a", "a/b:c.d-e", "-a", "a\n", "x" * 63, "x" * 64, "CPU", "GPU", "memory", "object_store_memory")


def changes(node: Node, value: Any) -> Iterator[Any]:
    """All of them. Some are valid: a judge that refuses all has failed as well."""
    yield from unfit()
    yield from _SORTS[_sort(node)](node, value)


def unfit() -> Iterator[Any]:
    """No value, and one of every sort, all but one or two of them wrong for any field."""
    yield DROP
    yield from WRONG


def _sort(node: Node) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in node:
        return "enum"
    if node.get("format") == "date-time":
        return "time"
    if "additionalProperties" in node:
        return "map"
    return "template" if node.get("x-kubernetes-preserve-unknown-fields") else str(node["type"])


def _number(node: Node, value: Any) -> Iterator[Any]:
    low, high = node["minimum"], node["maximum"]
    yield from (low - 1, low, high, high + 1, *NUMBERS)


def _text(node: Node, value: str) -> Iterator[str]:
    yield from ("", " ", "ü", "a b", value.upper(), f" {value}", f"-{value}")
    yield from (
        f"{value}{end}" for end in (" ", "\t", "\n", "\0", "\v", "\x1f", "\x85", "\xa0", "\u2003", "ü", "😀", "-", ".", "/", "@", ":")
    )
    for length in (node["maxLength"], node["maxLength"] + 1):
        yield value.ljust(length, value[-1])
        yield value.ljust(length, "ü")


def _enum(node: Node, value: str) -> Iterator[str]:
    yield from (*node["enum"], value.lower(), value.upper(), f"{value} ", "Other", "")


def _list(node: Node, value: list[Any]) -> Iterator[list[Any]]:
    yield from ([*value, None], value + value[:1], value * 2)
    yield from (_many(node, value, count) for count in (node["maxItems"], node["maxItems"] + 1))


def _many(node: Node, value: list[Any], count: int) -> list[Any]:
    entry: Any = value[-1] if value else "x"
    return [entry | {"name": f"n{index}"} if "x-kubernetes-list-map-keys" in node else entry for index in range(count)]


def _object(node: Node, value: Node) -> Iterator[Node]:
    contents: tuple[Any, ...] = (1, None, {})
    yield from (value | {unknown: content} for unknown in ("surprise", "Name", "x_y") for content in contents)


def _map(node: Node, value: Node) -> Iterator[Node]:
    yield from (value | {key: 1} for key in KEYS)
    yield from ({f"k{index}": 1 for index in range(count)} for count in (node["maxProperties"], node["maxProperties"] + 1))


def _template(node: Node, value: Node) -> Iterator[Node]:
    yield from ({f"k{index}": index for index in range(count)} for count in (node["maxProperties"], node["maxProperties"] + 1))
    odd: tuple[Any, ...] = (None, [None], 1.5, 3.0, "ü", {"a": {"b": []}})
    yield from (value | {"x": inner} for inner in odd)


_SORTS: dict[str, Callable[[Node, Any], Iterator[Any]]] = {
    "quantity": lambda node, value: iter(QUANTITIES),
    "enum": _enum,
    "time": lambda node, value: iter(TIMES),
    "map": _map,
    "template": _template,
    "integer": _number,
    "number": _number,
    "string": _text,
    "boolean": lambda node, value: iter((not value, 0, 1, "true")),
    "array": _list,
    "object": _object,
}
