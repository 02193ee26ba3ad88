"""kill -9 of each part of a serving cluster. It comes back by itself, `why` tells what happens, and what need not stop serves on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.product.inside import MODEL, Inside
from tests.e2e.product.outage import Outage

pytestmark = pytest.mark.timeout(900)

GAP_SECONDS = 2.0
"""The longest silence of a stream that goes on: the engine gives 20 tokens/s, the machine is busy."""
NOTICED_SECONDS = 10.0
"""It takes two; who was not told looks again after a minute."""
Report = Callable[[str], None]


def tell(report: Report, what: str, seconds: float, outage: Outage) -> None:
    served = f"longest silence of a model's client {outage.traffic.longest_silence:.1f} s, {len(outage.traffic.errors)} broken requests"
    report(f"{what} killed: Ready again after {seconds:.1f} s (not Ready for {outage.unready_seconds():.1f} s); {served}")
    report(f"    reasons seen: {', '.join(sorted(outage.reasons())) or 'none'}")
    print("\n".join((*outage.told, *dict.fromkeys(outage.traffic.errors))))


def test_a_killed_replica_is_replaced(inside: Inside, outage: Outage, report: Report) -> None:
    (before,), parts = inside.replica(MODEL), inside.parts()
    outage.kill(before)
    # Ray may have another one before the controller has seen that this one is gone.
    seconds = outage.recover(lambda: before not in inside.replica(MODEL) != [] and outage.reasons() != set())
    tell(report, "replica", seconds, outage)
    noticed = outage.noticed_after()
    report(f"    shown as not ready {noticed:.1f} s after the kill")
    assert noticed < NOTICED_SECONDS
    outage.assert_told("0 of 1 replicas ready", "0 of 1 replicas ready")
    assert "MatrixCluster/Ready" not in str(outage.reasons()), "the cluster itself is well"
    assert inside.parts() == parts


def test_a_killed_directory_comes_back_and_the_model_serves_on(inside: Inside, outage: Outage, report: Report) -> None:
    replica, (before,) = inside.replica(MODEL), inside.titled("ray::ServeReplica:mx-system:Directory")
    instance = inside.state()["instance"]
    outage.kill(before)
    seconds = outage.recover(lambda: (inside.state() or {}).get("instance") not in (None, instance))
    tell(report, "directory", seconds, outage)
    outage.assert_told("waiting for mx-system", "ServeNotReady")
    assert "MatrixCluster/ServeReady=ServeNotReady" in outage.reasons()
    assert inside.replica(MODEL) == replica
    assert outage.traffic.errors == [] and outage.traffic.longest_silence < GAP_SECONDS


def test_a_killed_serve_controller_comes_back_and_the_model_serves_on(inside: Inside, outage: Outage, report: Report) -> None:
    replica, (before,) = inside.replica(MODEL), inside.titled("ray::ServeController")
    outage.kill(before)
    running = {"mx-system": "RUNNING", f"mx-md-{MODEL}": "RUNNING"}
    seconds = outage.recover(lambda: before not in inside.titled("ray::ServeController") != [] and inside.applications() == running)
    tell(report, "Serve controller", seconds, outage)
    assert inside.replica(MODEL) == replica
    assert outage.traffic.errors == [] and outage.traffic.longest_silence < GAP_SECONDS


@pytest.mark.parametrize(("part", "name", "why"), [("dashboard", "dashboard", "DashboardUnreachable"), ("gcs", "GCS", "Recovering")])
def test_a_killed_dashboard_or_gcs_comes_back_and_the_model_serves_on(
    inside: Inside, outage: Outage, report: Report, part: str, name: str, why: str
) -> None:
    replica, parts = inside.replica(MODEL), inside.parts()
    outage.kill(parts[part][0])
    seconds = outage.recover(lambda: inside.pids(part) not in ([], parts[part]) and inside.applications().get("mx-system") == "RUNNING")
    tell(report, name, seconds, outage)
    outage.assert_told(f"the {name} ended and is being started again", why)
    assert "MatrixCluster/HeadReady=Recovering" in outage.reasons()
    assert inside.replica(MODEL) == replica
    assert {**inside.parts(), part: parts[part]} == parts, "nothing else was started again"
    assert outage.traffic.errors == [] and outage.traffic.longest_silence < GAP_SECONDS
    assert seconds < 60


def test_a_killed_raylet_comes_back_with_all_that_ran_on_it(inside: Inside, outage: Outage, report: Report) -> None:
    replica, parts = inside.replica(MODEL), inside.parts()
    outage.kill(parts["raylet"][0])
    seconds = outage.recover(lambda: inside.replica(MODEL) not in ([], replica) and inside.state() is not None)
    tell(report, "raylet", seconds, outage)
    outage.assert_told("the raylet ended and is being started again", f"it needs MatrixCluster/{inside.name}")
    assert "MatrixCluster/HeadReady=Recovering" in outage.reasons()
    assert {**inside.parts(), "raylet": parts["raylet"]} == parts, "nothing else was started again"
    assert len(inside.pids("raylet")) == len(inside.replica(MODEL)) == 1
