"""How a bench reports: a table on the terminal (min / median / max of the runs), JSON beside it, and the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure. `goal` is the claim in words, `holds` whether the median keeps it (None: no claim)."""

    what: str
    values: tuple[float, ...]
    unit: str
    goal: str = ""
    holds: bool | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def paired_ratio(
    what: str, ours: Sequence[float], theirs: Sequence[float], goal: str, *, at_most: float = 0.0, at_least: float = 0.0
) -> Row:
    """Ours / theirs, run by run, so that a machine that drifts does not decide."""
    ratios = tuple(a / b for a, b in zip(ours, theirs, strict=True))
    middle = statistics.median(ratios)
    holds = (not at_most or middle <= at_most) and (not at_least or middle >= at_least)
    return Row(what, ratios, "x", goal, holds)


def report(name: str, rows: Sequence[Row]) -> None:
    """Print the table and write bench/results/<name>.json."""
    cores = _cores()
    print(f"\n{name}  ({cores} cores, {platform.machine()}, Python {platform.python_version()})")
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}  {'min':>9}  {'median':>9}  {'max':>9}")
    for row in rows:
        mark = "" if row.holds is None else ("  holds: " if row.holds else "  FALLS SHORT: ") + row.goal
        print(f"{row.what:{width}}  {min(row.values):9.3f}  {row.median:9.3f}  {max(row.values):9.3f} {row.unit}{mark}")
    save(name, rows)


def save(name: str, rows: Sequence[Row]) -> None:
    """Write bench/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"cores": _cores(), "python": platform.python_version()}
    text = json.dumps({"bench": name, "machine": machine, "rows": [asdict(row) for row in rows]}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
