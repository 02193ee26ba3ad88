"""The election, with an API server in memory and a clock that is turned by hand: each process has its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import httpx2
import pytest

from matrix_operator.engines.lease import Lease, LeaseLost, Timing
from matrix_store.errors import Forbidden, NotFound
from tests.unit.store.kubernetes.server import api, status

PATH = "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
TIMING = Timing()


class Server:
    """Keeps one Lease. `fault` answers instead of it."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.fault: httpx2.Response | Exception | None = None
        self.writes = 0

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if isinstance(self.fault, Exception):
            raise self.fault
        if self.fault is not None:
            return self.fault
        if request.method == "POST":
            return self._create(json.loads(request.content))
        if self.lease is None:
            return status(404, "NotFound", "no lease", name="matrix-operator")
        return self._patch(json.loads(request.content)) if request.method == "PATCH" else self._stored(200)

    def _create(self, body: dict[str, Any]) -> httpx2.Response:
        if self.lease is not None:
            return status(409, "AlreadyExists", "there is one")
        return self.write(body["spec"])

    def _patch(self, operations: list[dict[str, Any]]) -> httpx2.Response:
        version, spec = operations
        assert (version["path"], spec["path"]) == ("/metadata/resourceVersion", "/spec")
        if version["value"] != str(self.version):
            return status(409, "Conflict", "it has changed")
        return self.write(spec["value"])

    def write(self, spec: dict[str, Any]) -> httpx2.Response:
        self.version += 1
        self.writes += 1
        self.lease = {"metadata": {"name": "matrix-operator", "resourceVersion": str(self.version)}, "spec": spec}
        return self._stored(200)

    def _stored(self, code: int) -> httpx2.Response:
        return httpx2.Response(code, json=self.lease)

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


class Stopped(Exception):
    """Ends a loop of a lease after the turns that a test allows it."""


class Party:
    """A process with a lease, and a clock of its own that only sleeping and tests move."""

    def __init__(self, server: Server, name: str, start: float = 0.0) -> None:
        self.now = start
        self.turns = 0
        self.lease = Lease(api(server.answer), "ops", "matrix-operator", name, TIMING, clock=lambda: self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        if self.turns <= 0:
            raise Stopped
        self.turns -= 1
        self.now += seconds

    def acquires(self, turns: int = 0) -> bool:
        """Whether it holds the lease after so many more looks."""
        self.turns = turns
        return self._ends(self.lease.acquire())

    def renews(self, turns: int = 0) -> None:
        self.turns = turns
        assert not self._ends(self.lease.hold())

    @staticmethod
    def _ends(work: Coroutine[Any, Any, None]) -> bool:
        try:
            asyncio.run(work)
        except Stopped:
            return False
        return True


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def leader(server: Server) -> Party:
    party = Party(server, "a")
    assert party.acquires()
    return party


def test_the_first_one_makes_the_lease_and_holds_it(server: Server, leader: Party) -> None:
    assert leader.lease.held
    assert server.lease is not None
    spec = server.lease["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 8, 1)
    assert spec["renewTime"].endswith("Z") and len(spec["renewTime"].split(".")[1]) == len("123456Z")


def test_another_waits_as_long_as_it_is_renewed(server: Server, leader: Party) -> None:
    other = Party(server, "b", start=1e6)
    for _ in range(10):
        assert not other.acquires(turns=4)
        leader.now += 4
        leader.renews()
    assert leader.lease.held and not other.lease.held
    assert server.holder == "a"


@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6])
def test_a_dead_holder_is_followed_when_its_lease_has_not_changed_for_its_time(server: Server, leader: Party, skew: float) -> None:
    """Whatever its clock said."""
    other = Party(server, "b", start=skew)
    assert not other.acquires(turns=7)
    assert other.acquires(turns=2)
    assert other.now - skew <= TIMING.lease + 2 * TIMING.retry
    assert server.holder == "b"
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 2


def test_a_holder_stops_before_another_may_begin(server: Server, leader: Party) -> None:
    leader.now += TIMING.renew - 0.01
    assert leader.lease.held
    leader.now += 0.01
    assert not leader.lease.held
    assert TIMING.renew < TIMING.lease


def test_it_counts_from_when_the_renewal_was_sent(server: Server, leader: Party) -> None:
    answer = server.answer

    async def slow(request: httpx2.Request) -> httpx2.Response:
        leader.now += 4
        return await answer(request)

    server.answer = slow  # type: ignore[method-assign]
    leader.lease._api = api(slow)
    sent = leader.now
    leader.renews()
    leader.now = sent + TIMING.renew
    assert not leader.lease.held


def test_an_api_server_that_is_away_pauses_it_and_restarts_nobody(server: Server, leader: Party) -> None:
    server.fault = httpx2.ConnectError("refused")
    leader.renews(turns=30)
    assert not leader.lease.held
    server.fault = None
    leader.renews()
    assert leader.lease.held


def test_one_that_could_not_look_either_gives_the_holder_its_time_again(server: Server, leader: Party) -> None:
    other = Party(server, "b")
    assert not other.acquires(turns=2)
    server.fault = httpx2.ConnectError("refused")
    assert not other.acquires(turns=30)
    server.fault = None
    assert not other.acquires(turns=7)
    leader.renews()
    assert leader.lease.held and server.holder == "a"


def test_a_frozen_one_that_wakes_finds_another_and_ends(server: Server, leader: Party) -> None:
    other = Party(server, "b")
    assert other.acquires(turns=10)
    leader.now += 20
    assert not leader.lease.held
    with pytest.raises(LeaseLost, match="b has taken the lease"):
        leader.renews()
    assert not leader.lease.held
    assert server.holder == "b"


def test_one_that_ends_orderly_is_followed_at_once(server: Server, leader: Party) -> None:
    other = Party(server, "b")
    assert not other.acquires()
    asyncio.run(leader.lease.release())
    assert not leader.lease.held
    assert other.acquires()


def test_one_that_has_lost_gives_nothing_back(server: Server, leader: Party) -> None:
    other = Party(server, "b")
    assert other.acquires(turns=10)
    with pytest.raises(LeaseLost):
        leader.renews()
    asyncio.run(leader.lease.release())
    assert server.holder == "b"


def test_of_two_that_find_it_free_one_wins(server: Server) -> None:
    first, second = Party(server, "a"), Party(server, "b")

    async def both() -> None:
        await asyncio.gather(first.lease.acquire(), second.lease.acquire(), return_exceptions=True)

    asyncio.run(both())
    assert [first.lease.held, second.lease.held].count(True) == 1


def test_an_edit_by_others_does_not_end_the_holder(server: Server, leader: Party) -> None:
    assert server.lease is not None
    server.write(server.lease["spec"])
    leader.now += 4
    leader.renews()
    assert leader.lease.held


def test_a_deleted_lease_is_made_again_by_its_holder_first(server: Server, leader: Party) -> None:
    other = Party(server, "b")
    assert not other.acquires(turns=1)
    server.lease = None
    assert not other.acquires(turns=5)
    leader.now += 4
    leader.renews()
    assert leader.lease.held and server.holder == "a"


def test_the_time_that_its_holder_wrote_counts(server: Server) -> None:
    server.write({"holderIdentity": "older", "leaseDurationSeconds": 30})
    party = Party(server, "b")
    assert not party.acquires(turns=29)
    assert party.acquires(turns=2)


def test_a_lease_without_a_spec_is_free(server: Server) -> None:
    server.write({})
    assert Party(server, "b").acquires()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(403, "Forbidden", "may not get leases"), Forbidden),
        (status(404, "NotFound", "no namespace", kind="namespaces", name="ops"), NotFound),
    ],
)
def test_what_waiting_does_not_mend_is_raised(server: Server, fault: httpx2.Response, error: type[Exception]) -> None:
    server.fault = fault
    with pytest.raises(error):
        Party(server, "a").acquires(turns=3)


def test_a_right_that_is_taken_away_pauses_it(server: Server, leader: Party) -> None:
    server.fault = status(403, "Forbidden", "may not patch leases")
    leader.renews(turns=6)
    assert not leader.lease.held
