"""The figures of the operator's bench as they come in: each is printed and stored at once, so that a run which is cut short has told
what it could."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report import Row, report, save


class Figures:
    """One run's rows, in the order in which they became known."""

    def __init__(self, name: str) -> None:
        """`name` is that of the file in bench/results."""
        self._name = name
        self._rows: list[Row] = []

    def add(self, what: str, value: float, unit: str = "", *, below: float | None = None) -> None:
        """`below`: the claim, if there is one."""
        goal, holds = ("", None) if below is None else (f"< {below:g} {unit}".strip(), value < below)
        self._rows.append(Row(what, (value,), unit, goal, holds))
        print(f"  {what}: {value:.3f} {unit}".rstrip(), flush=True)
        save(self._name, self._rows)

    def add_each(self, what: str, values: Mapping[str, float], unit: str) -> None:
        """One row for each, the largest first."""
        for name, value in sorted(values.items(), key=lambda item: -item[1]):
            self.add(f"{what}, {name}", value, unit)

    def table(self) -> None:
        """All of them."""
        if self._rows:
            report(self._name, self._rows)
