"""What probes are told by an operator that is stuck, and by one that is well."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.kubernetes.operator.operators import Operator, Operators
from tests.lab.api import wait_for

pytestmark = pytest.mark.timeout(400)

LIMITS = {"watch": 75.0, "loop": 10.0}
"""A watch lasts 60 s, and a loop may wait for the processor: with less a healthy one would be called dead."""
LATE_SECONDS = 45.0
"""A busy machine says so this much later at most."""


def dies(operator: Operator, seconds: float) -> str:
    """What its probe says when it fails."""
    wait_for(lambda: operator.live.status_code == 503, "the probe fails", seconds)
    return operator.live.text


def test_a_stuck_part_is_told_from_a_quiet_one(crew: Operators) -> None:
    well = crew.start(limits=LIMITS).leading()
    without_kopf = crew.start(limits=LIMITS, freezes="kopf").standing_by()
    without_loop = crew.start(limits=LIMITS, freezes="loop").standing_by()
    assert {one.live.text for one in (well, without_kopf, without_loop)} == {"ok\n"}
    for one in (without_kopf, without_loop):
        one.process.send(signal.SIGUSR1)
    assert dies(without_loop, LIMITS["loop"] + LATE_SECONDS).startswith("the event loop has been stuck for ")
    assert dies(without_kopf, LIMITS["watch"] + LATE_SECONDS).startswith("kopf has not looked after one of its watches for ")
    assert without_kopf.ready.status_code == 503
    assert well.live.text == "ok\n", "nothing changed in all this time, and that is no reason"
    assert well.ready.text == "ok\n"
    assert well.metric('matrix_watch_age_seconds{watch="objects"}') < LIMITS["watch"]


def test_a_probe_of_something_else_is_told_what_there_is(crew: Operators) -> None:
    operator = crew.start().leading()
    answer = operator._get("health", "/healthz")
    assert (answer.status_code, answer.text) == (404, "there is only /livez and /readyz\n")
