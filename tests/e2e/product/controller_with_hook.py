"""The controller of the standalone engine, killed between two steps: controller_with_hook.py HOME TRIED_FILE.

A position is a kind of step, before or after its effect, and how often this process has been there. The process kills itself at the
first position that is not in TRIED_FILE, after it has added it. Started again and again with the same file, it is killed once at each.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from matrix_operator.engines import standalone
from matrix_operator.reconcile.steps import Step
from matrix_store.home import Home

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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    asyncio.run(standalone.run(Home(Path(sys.argv[1])), KillOnce(Path(sys.argv[2]))))
