"""A dashboard that does not answer, or answers nonsense: Unknown is not gone. Nothing is torn down, and the model serves on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.product.dashboard_proxy import NONSENSE, DashboardProxy
from tests.e2e.product.inside import MODEL, Inside, Objects
from tests.e2e.product.outage import Outage
from tests.e2e.product.product import until

pytestmark = pytest.mark.timeout(900)

UNKNOWN_SECONDS = 60.0
"""The pulse asks each 5 s with a deadline of 5 s, and so does the look that it causes; the machine is busy."""
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def proxy(inside: Inside) -> Iterator[DashboardProxy]:
    """The dashboard's port is taken from the cluster's record: for these tests, and a controller started anew, it is the proxy's."""
    record = inside.journal.cluster()
    assert record is not None
    with DashboardProxy(record.ports.dashboard) as proxy:
        inside.journal.put(record.model_copy(update={"ports": record.ports.model_copy(update={"dashboard": proxy.port})}))
        inside.product.matrix("controller", "stop")
        inside.product.matrix("controller", "run", "--detach")
        with Objects(inside.product.home) as objects:
            url = f"http://127.0.0.1:{proxy.port}"
            until(lambda: url in str(objects.status("MatrixCluster", "one")["endpoints"]), 60, "the controller asks the proxy")
            until(lambda: objects.is_ready("ModelDeployment", MODEL), 60, "all is well behind the proxy")
        yield proxy
        inside.journal.put(record)


def everything(inside: Inside) -> list[int]:
    """What must not be touched: the head's parts, the model's replica, the directory, Serve's controller."""
    parts = [pid for pids in inside.parts().values() for pid in pids]
    return parts + inside.replica(MODEL) + inside.titled("ray::ServeReplica:mx-system") + inside.titled("ray::ServeController")


def test_a_frozen_dashboard_is_unknown_and_nothing_is_torn_down(inside: Inside, outage: Outage, report: Report) -> None:
    before, (dashboard,) = everything(inside), inside.pids("dashboard")
    outage.begin()
    os.killpg(dashboard, signal.SIGSTOP)  # with its subprocesses
    try:
        unknown = outage.until_unknown(UNKNOWN_SECONDS)
        assert everything(inside) == before
    finally:
        os.killpg(dashboard, signal.SIGCONT)
    outage.begin_recovery()
    seconds = outage.recover(lambda: inside.applications().get("mx-system") == "RUNNING", 60)
    report(f"dashboard frozen: BackendReachable=Unknown after {unknown:.1f} s; thawed: Ready again after {seconds:.1f} s")
    assert_untouched(inside, outage, before)


@pytest.mark.parametrize("what", NONSENSE)
def test_a_dashboard_that_answers_nonsense_is_unknown_and_nothing_is_changed(
    inside: Inside, proxy: DashboardProxy, outage: Outage, report: Report, what: str
) -> None:
    before = everything(inside)
    outage.begin()
    proxy.say(what)
    try:
        unknown = outage.until_unknown(UNKNOWN_SECONDS)
        assert everything(inside) == before
        assert proxy.written == []
    finally:
        proxy.forward()
    outage.begin_recovery()
    seconds = outage.recover(lambda: inside.applications().get("mx-system") == "RUNNING", 60)
    report(f"dashboard answers {what}: BackendReachable=Unknown after {unknown:.1f} s; again as it should: Ready after {seconds:.1f} s")
    assert_untouched(inside, outage, before)


def assert_untouched(inside: Inside, outage: Outage, before: list[int]) -> None:
    print("\n".join(outage.told))
    assert everything(inside) == before
    assert outage.traffic.errors == [] and outage.traffic.longest_silence < 2
    text = "\n".join(outage.told)
    assert f"ModelDeployment/{MODEL} is not known to be ready (StateUnknown): it needs MatrixCluster/{inside.name}" in text
    assert f"because MatrixCluster/{inside.name} is not known to be ready (DashboardUnreachable)" in text
    assert "nothing is torn down meanwhile" in text
    assert "=False" not in " ".join(outage.statuses()), "nothing is said to be gone"
