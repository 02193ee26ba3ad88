"""What a PromQL expression asks for: the names of its series and of the labels it speaks of. promtool judges the rest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_STRING = re.compile(r'"[^"]*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([\w:]+)\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"[A-Za-z_:][\w:]*(?!\w|\s*\()")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset"})


@dataclass(frozen=True)
class Asked:
    names: frozenset[str]
    matched: Mapping[str, frozenset[str]]
    """Labels in braces, by the name before them."""
    grouped: frozenset[str]
    """Labels that are grouped or joined by."""


def asked(expression: str) -> Asked:
    bare = _RANGE.sub("", _STRING.sub('""', expression))
    matched: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for name, matchers in _SELECTOR.findall(bare):
        matched[name] |= frozenset(_MATCHER.findall(matchers))
    bare = _SELECTOR.sub(r"\1", bare)
    grouped = {label.strip() for group in _GROUPING.findall(bare) for label in group.split(",") if label.strip()}
    bare = _GROUPING.sub("", bare)
    names = {name for name in _NAME.findall(bare) if name not in _OPERATORS and not re.fullmatch(r"[smhdwy]", name)}
    return Asked(frozenset(names), matched, frozenset(grouped))
