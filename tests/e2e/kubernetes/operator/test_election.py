"""Two operators on a real API server: one acts, whatever befalls it, and never both."""

from __future__ import annotations

import time
from typing import Any

import pytest

from matrix_operator.engines.lease import Timing
from tests.e2e.kubernetes.manifests import Raw
from tests.e2e.kubernetes.operator.operators import END_SECONDS, Operator, Operators, Taken, stays
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(240)

TAKEOVER_SECONDS = 60.0
PROMISED_SECONDS = 15.0
"""By docs/cli.md, of a holder that dies."""
LONG_LEASE = {"lease": 180.0}
"""Longer than any wait here: whoever acts within one has not waited for its end."""
ACTS_SECONDS = 60.0
"""It acts every few seconds."""
FROZEN_SECONDS = 20.0
LIMITS = {"watch": 65.0}
"""A watch lasts 60 s: with no less a healthy one would be called dead."""
AWAY_SECONDS = 70.0
CLUSTERS = "/apis/matrix.dev/v1alpha1/namespaces/{}/matrixclusters"


def cluster(name: str) -> Raw:
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": name}, "spec": {}}


@pytest.fixture
def pair(control_plane: ControlPlane, crew: Operators) -> tuple[Operator, Operator]:
    """One that acts again and again, since its cluster does not come up, and one that stands by."""
    return make_pair(control_plane, crew)


def make_pair(control_plane: ControlPlane, crew: Operators, **wishes: Any) -> tuple[Operator, Operator]:
    control_plane.api.create(CLUSTERS.format(crew.namespace), cluster("lab"))
    leader = crew.start(limits=LIMITS, **wishes).leading()
    standby = crew.start(limits=LIMITS, **wishes).standing_by()
    crew.until_acts(leader, ACTS_SECONDS)
    return leader, standby


def begun(crew: Operators) -> list[Taken]:
    """One that was frozen within a step has still to tell of its end."""
    return [step for step in crew.steps if step.moment == "before"]


def who_acted(crew: Operators) -> list[int]:
    """The processes, in the order in which they acted: each one once if none acted while another did."""
    order: list[int] = []
    for step in sorted(begun(crew), key=lambda step: step.at):
        if not order or order[-1] != step.pid:
            order.append(step.pid)
    return order


def test_the_standby_takes_over_from_one_that_was_killed(crew: Operators, pair: tuple[Operator, Operator]) -> None:
    leader, standby = pair
    assert crew.steps_of(standby) == []
    assert (leader.metric("matrix_leader"), standby.metric("matrix_leader")) == (1.0, 0.0)
    pids = [leader.process.pid, standby.process.pid]
    leader.process.kill()
    killed = time.monotonic()
    crew.until_acts(standby, TAKEOVER_SECONDS)
    took = crew.steps_of(standby)[0].at - killed
    print(f"\nthe standby acts {took:.1f} s after the kill")
    assert took < PROMISED_SECONDS
    assert who_acted(crew) == pids


def test_one_that_is_told_to_stop_hands_over_at_once(control_plane: ControlPlane, crew: Operators) -> None:
    leader, standby = make_pair(control_plane, crew, timing=LONG_LEASE)
    pids = [leader.process.pid, standby.process.pid]
    leader.process.terminate()
    crew.until_acts(standby, TAKEOVER_SECONDS)
    assert leader.ends(END_SECONDS) == 0
    assert who_acted(crew) == pids


def test_one_whose_watch_lags_knows_what_was_written_before_it_acts(control_plane: ControlPlane, crew: Operators) -> None:
    leader, standby = crew.start().leading(), crew.start(hears_nothing=True).standing_by()
    control_plane.api.create(CLUSTERS.format(crew.namespace), cluster("lab"))
    crew.until_acts(leader, ACTS_SECONDS)
    pids = [leader.process.pid, standby.process.pid]
    leader.process.terminate()
    crew.until_acts(standby, TAKEOVER_SECONDS)
    assert who_acted(crew) == pids


def test_a_frozen_one_does_nothing_when_it_wakes(crew: Operators, pair: tuple[Operator, Operator]) -> None:
    leader, standby = pair
    pids = [leader.process.pid, standby.process.pid]
    leader.process.stop()
    frozen = time.monotonic()
    crew.until_acts(standby, TAKEOVER_SECONDS)
    before = [step.pid for step in begun(crew)].count(pids[0])
    assert stays(lambda: leader.process.running, frozen + FROZEN_SECONDS - time.monotonic())
    leader.process.cont()
    assert leader.ends(END_SECONDS) == 1
    assert f"{standby.process.pid}_" in leader.log.splitlines()[-1] and "has taken the lease" in leader.log.splitlines()[-1]
    assert [step.pid for step in begun(crew)].count(pids[0]) == before
    assert who_acted(crew) == pids


def test_an_api_server_that_is_away_restarts_nobody(control_plane: ControlPlane, crew: Operators, pair: tuple[Operator, Operator]) -> None:
    leader, standby = pair
    pids = leader.process.pid, standby.process.pid
    control_plane.api_server.kill()
    killed = time.monotonic()
    assert stays(lambda: leader.live.status_code == standby.live.status_code == 200, AWAY_SECONDS)
    # A busy machine may let it tell of a step a moment after it was allowed.
    acted = [step for step in begun(crew) if step.at > killed + Timing().renew + 1]
    assert acted == [], "nobody may act without a lease"
    control_plane.api_server.start()
    control_plane.ready()
    crew.until_acts(leader, 90)
    assert (leader.process.pid, standby.process.pid) == pids
    assert crew.steps_of(standby) == []
    wait_for(lambda: leader.ready.status_code == standby.ready.status_code == 200, "both are ready", TAKEOVER_SECONDS)
