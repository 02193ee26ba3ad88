"""A hook of an engine that kills its process between two steps.

A position is a kind of step, before or after its effect, and how often this process has been there. The process kills itself at the
first position that is not in the file of those that were tried, after it has added it. Started again and again with the same file, it
is killed once at each.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from matrix_operator.reconcile.steps import Step

OFTEN = {"Ensure": 4, "Remove": 3, "PutServe": 2}
"""Steps that are taken again and again, and how many of these times are tried; of the others the first."""


class KillOnce:
    """The hook."""

    def __init__(self, tried: Path) -> None:
        self._tried = tried
        self._passed: Counter[str] = Counter()

    async def __call__(self, step: Step, moment: str) -> None:
        name = type(step).__name__
        place = f"{moment} {name}"
        self._passed[place] += 1
        position = f"{place} {self._passed[place]}"
        if self._passed[place] <= OFTEN.get(name, 1) and position not in self._tried.read_text().splitlines():
            with self._tried.open("a") as file:
                file.write(position + "\n")
            os.kill(os.getpid(), signal.SIGKILL)
