"""Times for people: ages, and durations as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def age(begin: datetime | None, now: datetime | None = None) -> str:
    """How long ago, as kubectl writes it; "" when it is not known."""
    return "" if begin is None else span(((now or datetime.now(UTC)) - begin).total_seconds())


def span(seconds: float) -> str:
    """A duration: 59s, 2m5s, 10m, 7h, 4d."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 600:
        return f"{whole // 60}m{whole % 60}s" if whole % 60 else f"{whole // 60}m"
    if whole < 3 * 3600:
        return f"{whole // 60}m"
    return f"{whole // 3600}h" if whole < 48 * 3600 else f"{whole // 86_400}d"


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 90s, 10m, 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; write seconds, or 90s, 10m, 2h", param, ctx)
        return float(match[1]) * _UNITS[match[2]]
