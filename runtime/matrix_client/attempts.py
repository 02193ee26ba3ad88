"""The tries of one request: which replica next, how long to wait for one, and whether to go on after a failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matrix_client.errors import NeedsUser, NotReady, RequestError, RequestTimeout, Unreachable
from matrix_client.fleet import Fleet
from matrix_client.picker import Candidate, Wanted
from matrix_client.refusals import told
from matrix_client.routes import LOOK_SECONDS, Route, Routes
from matrix_client.verdict import State
from matrix_crds.reasons import DeploymentReason
from matrix_proto.errors import ErrorReason

if TYPE_CHECKING:
    import grpc.aio

    from matrix_client.channels import Line

MOST_BREAKS = 3
"""So many replicas may fail over one request while they work on it: it may be the request that brings them down."""
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 5.0
"""To hear from a directory for the first time, at least."""
OnWait = Callable[[str], None]
_BREAKS = frozenset({ErrorReason.BROKE_OFF, ErrorReason.ENGINE_FAILED})
_AWAY = frozenset({ErrorReason.BROKE_OFF, ErrorReason.NOT_READY, ErrorReason.DRAINING})


@dataclass(slots=True)
class Seat:
    """A replica that is reserved for a try. `release` it."""

    fleet: Fleet
    candidate: Candidate
    line: Line
    served_name: str
    metadata: grpc.aio.Metadata
    token: str

    @property
    def where(self) -> str:
        """The replica, for an error's text."""
        return f"{self.served_name} at {self.line.address}"

    def release(self) -> None:
        self.fleet.release(self.candidate)


class Attempts:
    """For one request; used by one task."""

    def __init__(self, routes: Routes, model: str, timeout: float | None, patience: float, on_wait: OnWait) -> None:
        """`timeout` (seconds from now, None for no end) bounds all tries; `patience` the time that is spent waiting for a replica;
        `on_wait` hears what is waited for, again and again."""
        self.begun = time.monotonic()
        self._routes = routes
        self._model = model
        self._timeout = timeout
        self._patience = patience
        self._on_wait = on_wait
        self._number = 0
        self._pauses = 0
        self._breaks = 0
        self._tried: set[str] = set()
        self._corrected: set[ErrorReason] = set()

    def left(self) -> float | None:
        """Seconds until the deadline; None when there is none."""
        return None if self._timeout is None else max(0.0, self.begun + self._timeout - time.monotonic())

    async def seat(self) -> Seat:
        """The replica for the next try. Raises NotFound, NotReady, RequestTimeout."""
        while True:
            route = self._routes.known(self._model) or await self._routes.look(self._model)
            fleet = route.fleet
            wanted = Wanted(route.target.application, self._tried, route.target.model)
            candidate = None if fleet is None else fleet.picker.pick(wanted)
            if fleet is None or candidate is None:
                await self._wait(route)
            elif not fleet.picker.to_probe(candidate) or await self._sound(fleet, candidate):
                return await self._take(fleet, candidate, route)

    async def failed(self, seat: Seat, error: grpc.aio.AioRpcError) -> None:
        """After a try that brought nothing: returns when to try again, else raises the failure."""
        failure = told(error, seat.where)
        if failure.reason in _AWAY:
            seat.fleet.picker.distrust(seat.candidate)
        if await self._correct(seat, failure.reason):
            return
        self._breaks += failure.reason in _BREAKS
        if isinstance(failure, RequestTimeout) and self._timeout is not None:
            failure = RequestTimeout(
                f"{seat.where} did not answer within {self._timeout:g} s; allow more time, or see `matrix logs` of the model"
            )
        if not failure.retryable or self._breaks >= MOST_BREAKS:
            raise failure from error
        await self._pause(failure)

    async def _take(self, fleet: Fleet, candidate: Candidate, route: Route) -> Seat:
        self._number += 1
        # While a change of the name is rolled out, the former replicas know the former one (Target.model says whether they will do).
        name = candidate.replica.model or route.target.served_name
        try:
            metadata = await fleet.metadata(self._number, name)
            return Seat(fleet, candidate, fleet.line(candidate), name, metadata, fleet.token)
        except BaseException:
            fleet.release(candidate)
            raise
        finally:
            self._mark(candidate.replica.id)

    def _mark(self, id_: str) -> None:
        """All have been tried: begin anew, the last one last."""
        if id_ in self._tried:
            self._tried.clear()
        self._tried.add(id_)

    async def _sound(self, fleet: Fleet, candidate: Candidate) -> bool:
        sound, begun = False, time.monotonic()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.left()):
                    sound = await fleet.sound(candidate)
        finally:
            self._patience -= time.monotonic() - begun
            if not sound:
                fleet.release(candidate)
        if not sound:
            self._mark(candidate.replica.id)
            where = f"{self._model} at {candidate.replica.grpc_address}"
            await self._pause(Unreachable(f"{where} gives no sign of life; see `matrix get mxd`"))
        return sound

    async def _correct(self, seat: Seat, reason: ErrorReason) -> bool:
        """Once for each reason: whether what we knew (the token, the served name) is out of date, so that another try makes sense."""
        if reason in self._corrected:
            return False
        self._corrected.add(reason)
        if reason is ErrorReason.UNAUTHENTICATED:
            return await seat.fleet.renew_token(seat.token)
        if reason is ErrorReason.UNKNOWN_MODEL:
            known = self._routes.known(self._model)
            self._routes.forget(self._model)
            return known is None or time.monotonic() - known.looked > LOOK_SECONDS
        return False

    async def _pause(self, failure: RequestError) -> None:
        """Before the next try: longer each time, and never at the same moment as others.

        Raises `failure` when patience ends, RequestTimeout when the deadline is before the next try; one other try is made without any
        patience.
        """
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._pauses, 16))
        seconds = random.uniform(longest / 2, longest)
        left = self.left()
        if left is not None and seconds > left:
            raise RequestTimeout(f"no answer within {self._timeout:g} s; the last try: {failure}") from failure
        if self._pauses and seconds > self._patience:
            raise failure
        self._pauses += 1
        self._patience -= seconds
        await asyncio.sleep(seconds)

    async def _wait(self, route: Route) -> None:
        """No replica is there: waits for one, a little while. Raises when there is no point in it, or when patience ends."""
        fleet = route.fleet
        heard = fleet is None or fleet.watch.synced.is_set()
        hopeless = _hopeless(route) if heard else None
        oldest = self.begun if hopeless else time.monotonic() - LOOK_SECONDS
        if route.looked < oldest:  # it may be otherwise by now
            await self._routes.look(self._model, oldest)
            return
        if hopeless:
            raise hopeless
        left = self._left_to_wait(heard)
        if left <= 0:
            raise self._given_up(route)
        if heard:
            self._on_wait(_hint(route))
        begun = time.monotonic()
        if fleet is not None:
            await fleet.arrival(route.target.application, route.target.model, min(left, LOOK_SECONDS))
        else:
            await asyncio.sleep(min(left, LOOK_SECONDS))
        self._patience -= time.monotonic() - begun

    def _left_to_wait(self, heard: bool) -> float:
        """Seconds. Without much patience, too, there is time to hear from the directory for the first time."""
        left = self._patience if heard else max(self._patience, self.begun + CONNECT_SECONDS - time.monotonic())
        deadline = self.left()
        return left if deadline is None else min(left, deadline)

    def _given_up(self, route: Route) -> NotReady | RequestTimeout:
        if self._timeout is not None and self.left() == 0:
            return RequestTimeout(f"no replica of {self._model} took the request within {self._timeout:g} s: {_hint(route)}")
        return NotReady(route.target.deployment, route.target.verdict.reason, _hint(route))


def _hopeless(route: Route) -> NotReady | None:
    """Why no replica will come before the user does something."""
    target = route.target
    if target.replicas == 0:
        remedy = f"scaled to zero; `matrix scale {target.deployment} --replicas 1`"
        return NotReady(target.deployment, DeploymentReason.SCALED_TO_ZERO, remedy)
    if target.verdict.state is State.STUCK:
        return NeedsUser(target.deployment, target.verdict.reason, _hint(route))
    return None


def _hint(route: Route) -> str:
    """What is waited for."""
    target, fleet = route.target, route.fleet
    if target.verdict.state is not State.DONE:
        words = target.verdict.message
    elif fleet is None:
        words = "its cluster has no directory"
    else:
        other = target.model and fleet.picker.has(target.application)
        missing = f"no replica serves the name {target.model!r} yet" if other else "no replica is in the directory"
        words = fleet.watch.last_error or missing
    return f"{words}; see `matrix why {target.deployment}`"
