"""The agent's loop: one look at the queue for all clusters, a decision for each, its steps, and what is to be told of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport
from matrix_slurm_bridge.agent.decide import Step, Submit, decide
from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.ledger import LIVING
from matrix_slurm_bridge.agent.lock import HEARTBEAT_SECONDS, AgentLock
from matrix_slurm_bridge.agent.model import Cluster, Phase, take
from matrix_slurm_bridge.agent.report import stamp
from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.agent.shared import SharedFiles
from matrix_slurm_bridge.agent.work import Work
from matrix_slurm_bridge.slurm.port import Job, Slurm, SlurmError

log = logging.getLogger(__name__)

SETTLING_SECONDS = 2.0
"""Between two looks for BUSY_SECONDS after each change; then those of the site's file."""
BUSY_SECONDS = 60.0
WORDS_SECONDS = 0.5
"""Between two looks at what the nodes' programs say, while a job has started and is not up."""
FRESH = timedelta(seconds=15)
"""So long after its start a controller's word that a job is not there does not count."""
GONE_FOR = timedelta(hours=1)
"""How long a cluster that is gone is still reported."""
STUCK_SECONDS = 20.0
"""A look that lasts longer has news for nobody."""
SOONEST_SECONDS = 0.3
"""Several wishes in a row share a look."""


def _now() -> datetime:
    return datetime.now(UTC)


class Agent:
    """Of one site. `want` and `reports` are for the same event loop as `run`."""

    def __init__(
        self,
        slurm: Slurm,
        settings: Callable[[], AgentSettings],
        journal: Journal,
        lock: AgentLock,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._slurm = slurm
        self._settings = settings
        self._journal = journal
        self._lock = lock
        self._clock = clock
        self._shared = SharedFiles()
        self._works: dict[str, Work] = {}
        self._inbox: dict[str, ClusterDesired] = {}
        self._last_wish: dict[str, ClusterDesired] = {}
        self._reports: dict[str, ClusterReport] = {}
        self._troubles: dict[str, ClusterReport] = {}
        """Instead of a report: why a wish was not taken."""
        self._listeners: set[asyncio.Event] = set()
        self._wake = asyncio.Event()
        self._changed_at = time.monotonic()
        self._round_began: float | None = None
        self.looked = False
        """It has had its first look: what it does not report it does not know of."""

    # --- for the hub, or whoever stands for it ---

    def want(self, desired: ClusterDesired) -> None:
        """From now on the site works towards that. Returns at once; the same wish again costs nothing."""
        uid = desired.uid
        if self._last_wish.get(uid) == desired and (uid in self._works or uid in self._inbox):
            return
        self._inbox[uid] = self._last_wish[uid] = desired
        self._wake.set()

    def forget(self, uid: str) -> None:
        """A cluster that is gone is reported no more; of one that is not, nothing changes."""
        work = self._works.get(uid)
        if work is not None and work.gone_at is not None:
            for known in (self._works, self._last_wish, self._reports, self._troubles):
                known.pop(uid, None)

    def reports(self) -> list[ClusterReport]:
        """What was seen last of each cluster."""
        return list(self._reports.values())

    def report(self, uid: str) -> ClusterReport | None:
        return self._reports.get(uid)

    @property
    def busy_seconds(self) -> float:
        """For how long the look at the queue has lasted that is under way: what is reported is as old as that."""
        return 0.0 if self._round_began is None else time.monotonic() - self._round_began

    @property
    def stuck(self) -> bool:
        return self.busy_seconds > STUCK_SECONDS

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Set whenever a report has changed; whoever listens clears it."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    # --- the loop ---

    async def run(self) -> None:
        """Until cancelled. Raises LockLost when another agent has taken over, Unusable when the journal can't be read at the start. The
        lock must have been taken."""
        heart = asyncio.create_task(self._beat())
        loop = asyncio.create_task(self._loop())
        try:
            done, _ = await asyncio.wait((heart, loop), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (heart, loop):
                task.cancel()
            await asyncio.gather(heart, loop, return_exceptions=True)
            self._shared.close()

    async def _beat(self) -> None:
        while True:
            try:
                await self._shared.call(self._lock.heartbeat)
            except Unusable as error:
                log.warning("the heartbeat could not be written: %s", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _loop(self) -> None:
        await self._load()
        while True:
            self._wake.clear()
            began = time.monotonic()
            try:
                await self._round()
            except Exception as error:  # a fault of ours ends no cluster: it is told, and the next look is another one
                log.exception("a look ended with an internal error")
                self._missed(f"a fault of the bridge ({type(error).__name__}); its log has the trace")
            await self._pause(began)

    async def _load(self) -> None:
        clusters = await self._shared.call(self._journal.clusters)
        entries = await self._shared.call(self._journal.entries)
        for cluster in clusters:
            self._works[cluster.uid] = self._work(cluster)
            self._works[cluster.uid].remember([entry for entry in entries if entry.tag.uid == cluster.uid])

    def _work(self, cluster: Cluster) -> Work:
        return Work(cluster, self._slurm, self._journal, self._shared, self._settings, self._lock.safe_to_act, self._clock)

    async def _pause(self, began: float) -> None:
        busy = time.monotonic() - self._changed_at < BUSY_SECONDS
        until = began + (SETTLING_SECONDS if busy else max(SETTLING_SECONDS, self._settings().poll_seconds))
        while (left := until - time.monotonic()) > 0:
            reads = any(work.awaits_word for work in self._works.values())
            try:
                async with asyncio.timeout(min(left, WORDS_SECONDS) if reads else left):
                    await self._wake.wait()
                await asyncio.sleep(SOONEST_SECONDS)
                return
            except TimeoutError:
                if reads:
                    await self._read_words()

    async def _read_words(self) -> None:
        """Files only: Slurm is not asked."""
        with suppress(Unusable):  # the next look tells it
            await asyncio.gather(*(work.read_words() for work in self._works.values() if work.awaits_word))
            self._publish()

    async def _round(self) -> None:
        self._round_began = time.monotonic()
        try:
            await self._take_wishes()
            if self._works:
                await self._look()
        finally:
            self._round_began = None
        self._drop_gone()
        self._publish()
        self.looked = True

    async def _look(self) -> None:
        at = self._clock()
        try:
            jobs = await self._slurm.jobs()
        except SlurmError as error:
            self._missed(str(error))
            return
        await asyncio.gather(*(work.look(_of(jobs, uid), at) for uid, work in self._works.items()))
        await self._doubt()
        await self._act(jobs)

    async def _doubt(self) -> None:
        """A controller that was started a moment ago may be one that has lost its last seconds: what it does not know is asked again."""
        missing = [work for work in self._works.values() if work.misses_jobs]
        if not missing:
            return
        try:
            fresh = self._clock() - await self._slurm.controller_started() < FRESH
        except SlurmError:
            fresh = True
        if fresh:
            for work in missing:
                work.doubt()

    def _missed(self, failure: str) -> None:
        for work in self._works.values():
            work.missed(failure, self._clock())
        self._publish()

    async def _take_wishes(self) -> None:
        """One that can't be stored now is taken at the next look; one that makes no sense is refused."""
        wishes, self._inbox = self._inbox, {}
        for uid, desired in wishes.items():
            self._troubles.pop(uid, None)
            try:
                work = self._works.get(uid) or self._work(take(None, desired))
                await work.take(desired)
                self._works[uid] = work
            except Unusable as error:
                self._inbox.setdefault(uid, desired)
                self._troubled(desired, str(error))
            except (ValueError, KeyError) as error:
                self._troubled(desired, f"what is wanted makes no sense here ({error}); is the bridge as new as the operator?")
            self._changed_at = time.monotonic()

    def _troubled(self, desired: ClusterDesired, message: str) -> None:
        log.warning("%s/%s: %s", desired.namespace, desired.name, message)
        self._troubles[desired.uid] = ClusterReport(
            uid=desired.uid,
            namespace=desired.namespace,
            name=desired.name,
            generation=desired.generation,
            attempt=desired.attempt,
            phase=desired.phase,
            presence=ClusterReport.UNKNOWN,
            message=message,
            looked_at=stamp(self._clock()),
            claimed=True,
        )

    def _drop_gone(self) -> None:
        for uid, work in list(self._works.items()):
            if work.gone_at is not None and self._clock() - work.gone_at > GONE_FOR:
                self.forget(uid)

    async def _act(self, jobs: Sequence[Job]) -> None:
        """Decide for all of them first: they share the limits of the site's file."""
        settings = self._settings()
        room = settings.max_jobs - sum(job.phase in LIVING for job in jobs)
        admitted = self._admitted(settings.max_clusters)
        plans: list[tuple[Work, list[Step]]] = []
        for uid, work in self._works.items():
            if work.gone_at is not None:
                continue
            if uid in admitted:
                steps = decide(work.view(room, f"the site's file allows {settings.max_jobs} in all (maxJobs)"))
            else:
                steps = decide(work.view(0, f"the site's file allows {settings.max_clusters} clusters (maxClusters)"))
            room -= sum(isinstance(step, Submit) for step in steps)
            plans.append((work, steps))
        done = await asyncio.gather(*(work.carry_out(steps) for work, steps in plans))
        if any(done):
            self._changed_at = time.monotonic()

    def _admitted(self, limit: int) -> set[str]:
        """Those that have begun come first."""
        present = [uid for uid, work in self._works.items() if work.cluster.phase is Phase.PRESENT and work.gone_at is None]
        leaving = {uid for uid, work in self._works.items() if work.cluster.phase is Phase.DELETE}
        return leaving | set(sorted(present, key=lambda uid: (not self._works[uid].begun, uid))[:limit])

    def _publish(self) -> None:
        changed = False
        told = {uid: work.report() for uid, work in self._works.items()} | self._troubles
        for uid, new in told.items():
            changed = changed or not _alike(self._reports.get(uid), new)
            self._reports[uid] = new
        if changed:
            self._changed_at = time.monotonic()
        for event in self._listeners if changed else ():
            event.set()


def _of(jobs: Sequence[Job], uid: str) -> list[Job]:
    return [job for job in jobs if job.tag.uid == uid]


def _alike(one: ClusterReport | None, other: ClusterReport) -> bool:
    """But for the time of the look."""
    if one is None:
        return False
    copy = ClusterReport()
    copy.CopyFrom(one)
    copy.looked_at.CopyFrom(other.looked_at)
    return copy == other
