"""Which of several operators acts: the one that holds a Lease (coordination.k8s.io/v1). The others stand by.

Safe whatever the machines' clocks say. A holder counts itself as one for `renew_seconds` from the moment it *sent* its last successful
renewal; another takes the lease only after it has *seen* it unchanged for the longer `lease_seconds`, on its own clock. The times in the
Lease are for people to read. Every write meets the version that was read, so of two that try at once one wins.

A holder that can't renew stops acting, and goes on as soon as it can: nobody else has held the lease if its version is still the one
that it wrote. So an API server that is away for a while restarts nobody. One that finds another in its place has lost, for good: the
process ends, since only a new one surely has nothing left over from before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from matrix_operator.errors import OperatorError
from matrix_store.errors import Conflict, Forbidden, NotFound, StoreError, Unavailable
from matrix_store.kubernetes.api import Api, replace_version
from matrix_store.kubernetes.faults import AlreadyThere
from matrix_store.port import Raw

log = logging.getLogger(__name__)

RELEASE_SECONDS = 2.0
NEVER = float("-inf")


class LeaseLost(OperatorError):
    """Another process acts now."""


def steady() -> float:
    """Seconds that never jump back, and that go on while the machine sleeps (where the system has such a clock)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True)
class Timing:
    """Seconds. A holder that dies is followed after `lease` and some tries; one that ends orderly after one try."""

    lease: float = 8.0
    """Another may take a lease that has not changed for so long."""
    renew: float = 5.0
    """Without a renewal for so long the holder does nothing more; less than `lease` by more than a slow answer takes."""
    every: float = 2.0
    """Between two renewals."""
    retry: float = 1.0
    """Between two tries, and between two looks of those that stand by."""


class Lease:
    """One process' part in the election. The task that awaits `acquire` and then `hold` is its only writer."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing = Timing(),
        clock: Callable[[], float] = steady,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`identity` must be of this process alone, and not of the one before it in the same pod."""
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._identity = identity
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._until = NEVER
        """Until when we may count on it."""
        self._version = ""
        self._spec: Raw = {}
        """As it was last seen or written."""
        self._since = NEVER
        """When `_spec` was first seen so, by somebody who kept looking."""
        self._looked = NEVER
        self._told = ""

    @property
    def held(self) -> bool:
        """Whether it is provably ours now. To be asked right before acting."""
        return self._clock() < self._until

    @property
    def holder(self) -> str:
        """Whoever was last seen to hold it; empty for nobody."""
        return str(self._spec.get("holderIdentity") or "")

    async def acquire(self) -> None:
        """Returns when it is ours. Raises Forbidden, NotFound (no such namespace)."""
        while not await self._attempt(self._take):
            await self._sleep(self._timing.retry)
        log.info("holds the lease %s as %s", self._name, self._identity)

    async def hold(self) -> None:
        """Renews until cancelled. Raises LeaseLost."""
        paused = False
        while True:
            renewed = await self._attempt(self._renew)
            if paused and renewed:
                log.info("the lease %s is renewed: acting again", self._name)
            elif not paused and not self.held:
                log.warning("the lease %s could not be renewed for %g s: nothing is done until it is", self._name, self._timing.renew)
            paused = not self.held
            await self._sleep(self._timing.every if renewed else self._timing.retry)

    async def release(self) -> None:
        """Gives it back, if it is ours, so that the next one need not wait. To be called when nothing is being done any more."""
        self._until = NEVER
        if self.holder != self._identity:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._write({**self._spec, "holderIdentity": "", "leaseDurationSeconds": 1})
            log.info("the lease %s is given back", self._name)
        except (StoreError, TimeoutError) as error:
            log.warning("the lease %s could not be given back: %s", self._name, _words(error))

    async def _attempt(self, work: Callable[[], Any]) -> bool:
        """Whether it worked. An API server that does not answer is asked again by the caller."""
        try:
            async with asyncio.timeout(self._timing.renew):
                return bool(await work())
        except (Unavailable, Conflict, TimeoutError) as error:
            log.warning("the lease %s: %s", self._name, _words(error))
            return False

    async def _take(self) -> bool:
        """One look, and a try if it is free."""
        try:
            await self._look()
            there = True
        except NotFound:
            there = False
        if self._taken():
            return False
        if not there:
            return await self._create()
        return await self._claim()

    async def _look(self) -> None:
        """Raises NotFound."""
        lease = await self._api.get(self._path)
        now, spec = self._clock(), lease.get("spec") or {}
        # What nobody looked at may have changed and changed back, and its holder could not renew either: its time begins anew.
        if spec != self._spec or now - self._looked > self._timing.renew:
            self._since = now
        self._looked = now
        self._version, self._spec = str(lease["metadata"]["resourceVersion"]), spec

    def _taken(self) -> bool:
        """Whether another holds it."""
        duration = float(self._spec.get("leaseDurationSeconds") or self._timing.lease)
        if self.holder in ("", self._identity) or self._clock() - self._since >= duration:
            return False
        if self.holder != self._told:
            log.info("stands by: %s holds the lease %s", self.holder, self._name)
            self._told = self.holder
        return True

    async def _create(self) -> bool:
        metadata = {"name": self._name}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self._renewed()}
        sent = self._clock()
        try:
            lease = await self._api.create(self._collection, body)
        except AlreadyThere:
            return False
        self._ours(lease, sent)
        return True

    async def _claim(self) -> bool:
        sent = self._clock()
        self._ours(await self._write(self._renewed()), sent)
        return True

    async def _renew(self) -> bool:
        """Raises LeaseLost."""
        try:
            return await self._claim()
        except (Conflict, NotFound):
            return await self._again()
        except Forbidden as error:
            log.warning("the lease %s: %s", self._name, error)
            return False

    async def _again(self) -> bool:
        """It is not as we left it: somebody has edited it, or deleted it, or taken it."""
        try:
            await self._look()
        except NotFound:
            return await self._create()
        if self.holder != self._identity:
            self._until = NEVER
            raise LeaseLost(f"{self.holder or 'somebody else'} has taken the lease {self._name}: this process ends")
        return await self._claim()

    def _renewed(self) -> Raw:
        """The spec with us as the holder."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        changes = self.holder != self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timing.lease),
            "acquireTime": now if changes else self._spec.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(self._spec.get("leaseTransitions") or 0) + changes,
        }

    async def _write(self, spec: Raw) -> Raw:
        return await self._api.patch(self._path, [replace_version(self._version), {"op": "add", "path": "/spec", "value": spec}])

    def _ours(self, lease: Raw, sent: float) -> None:
        self._version, self._spec = str(lease["metadata"]["resourceVersion"]), lease["spec"]
        self._since = self._looked = self._clock()
        self._until = sent + self._timing.renew

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"


def _words(error: Exception) -> str:
    return str(error) or "the API server did not answer in time"
