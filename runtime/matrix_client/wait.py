"""Waiting: watch the store until each object is as wanted, say what is waited for, and give up early when only the user can help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from matrix_client.errors import NeedsUser, ObjectGone, WaitTimeout
from matrix_client.goals import Deleted, Goal, RolledOut
from matrix_client.mirror import Mirror, mirroring
from matrix_client.verdict import State, Verdict, condition, judge, judge_rollout, moment
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Store, StoredObject

SETTLE_SECONDS = 3.0
"""A reason that needs the user must stand so long before waiting ends: it may be left from before, and about to be looked at again."""
SUPERVISE_SECONDS = 2.0
"""How often to look whether somebody is working on it at all."""


@dataclass(frozen=True)
class Progress:
    """What is known of one object that is waited for. Reported whenever its state, reason or message changes."""

    key: ObjectKey
    goal: Goal
    object: StoredObject | None
    """None when it is gone."""
    state: State
    reason: str
    message: str
    """What it waits for, in words."""
    since: datetime | None
    """Since when it waits for that."""

    @property
    def done(self) -> bool:
        return self.state is State.DONE


OnProgress = Callable[[Progress], None]
KeepRunning = Callable[[], Awaitable[None]]


class _Watcher:
    """Looks at one object again and again; remembers what a single look can't tell."""

    def __init__(self, key: ObjectKey, goal: Goal, on_progress: OnProgress | None, settle: float, now: Callable[[], datetime]) -> None:
        self.key, self.goal = key, goal
        self._on_progress = on_progress
        self._settle = settle
        self._now = now
        self._uid: str | None = None
        self._last: Progress | None = None
        self._stuck_at: float | None = None

    def look(self, mirror: Mirror, now: float) -> Progress:
        """Look, report what changed, and raise NeedsUser, ObjectGone or NotFound when waiting has no point."""
        stored = mirror.objects.get(self.key)
        if stored is None and self._uid is None and not isinstance(self.goal, Deleted):
            raise NotFound(f"{self.key} does not exist; create it with `matrix apply FILE`, or see what there is with `matrix get`")
        if stored is not None:
            self._uid = self._uid or stored.uid
        verdict = self._judge(stored, mirror)
        progress = Progress(self.key, self.goal, stored, verdict.state, verdict.reason, verdict.message, self._since(verdict))
        if self._on_progress is not None and (self._last is None or _told(progress) != _told(self._last)):
            self._on_progress(progress)
        self._last = progress
        self._give_up_when_stuck(progress, now)
        return progress

    def _since(self, verdict: Verdict) -> datetime | None:
        """Since when it waits for this very thing: a condition's own time moves with its status only, not with its reason."""
        if self._last is None or not self._last.reason:
            return verdict.since
        return self._last.since if self._last.reason == verdict.reason else self._now()

    def _judge(self, stored: StoredObject | None, mirror: Mirror) -> Verdict:
        if isinstance(self.goal, Deleted):
            return _judge_deletion(stored, self._uid)
        if stored is None or stored.uid != self._uid or stored.deleting:
            raise ObjectGone(f"{self.key} was deleted while it was waited for")
        if isinstance(self.goal, RolledOut):
            return judge_rollout(stored, mirror.objects)
        return judge(stored, self.goal.type, self.goal.status, mirror.objects)

    def _give_up_when_stuck(self, progress: Progress, now: float) -> None:
        if progress.state is not State.STUCK:
            self._stuck_at = None
            return
        self._stuck_at = now if self._stuck_at is None else self._stuck_at
        if now - self._stuck_at >= self._settle:
            raise NeedsUser(self.key, progress.reason, progress.message)


def _told(progress: Progress) -> tuple[object, ...]:
    """What a person hears of: other changes of the object are not worth a line."""
    return (progress.state, progress.reason, progress.message)


def _judge_deletion(stored: StoredObject | None, uid: str | None) -> Verdict:
    if stored is None or stored.uid != uid:
        return Verdict(State.DONE, message="removed")
    since = moment(stored.raw["metadata"].get("deletionTimestamp"))
    if not stored.deleting:
        return Verdict(State.WAITING, message="somebody to delete it", since=since)
    ready = condition(stored.raw, "Ready") or {}
    speaks = str(ready.get("reason", "")).startswith("Delet")
    message = str(ready.get("message", "")) if speaks else ""
    return Verdict(
        State.WAITING, str(ready["reason"]) if speaks else "Deleting", message or "confirmation that nothing of it is left", since
    )


async def wait_for(
    store: Store,
    goals: Mapping[ObjectKey, Goal],
    *,
    timeout: float | None = None,
    on_progress: OnProgress | None = None,
    keep_running: KeepRunning | None = None,
    settle: float = SETTLE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[ObjectKey, StoredObject | None]:
    """Wait until every object is as its goal says, and return them (None for the deleted).

    `timeout` is in seconds, None for no end. `keep_running` is awaited every two seconds, no longer than until the timeout, and raises
    when nobody works on the objects.
    `settle`: how long a reason that needs the user must stand before that ends the waiting.
    Raises NotFound, ObjectGone, NeedsUser (early: no point in waiting on), WaitTimeout, and what the store raises.
    """
    deadline = None if timeout is None else clock() + timeout
    watchers = [_Watcher(key, goal, on_progress, settle, now) for key, goal in goals.items()]
    supervised = float("-inf")
    async with mirroring(store, sorted({key.kind for key in goals} | {"MatrixCluster"}), {key.namespace for key in goals}) as mirror:
        while True:
            seen = [watcher.look(mirror, clock()) for watcher in watchers]
            if all(progress.done for progress in seen):
                return {progress.key: progress.object for progress in seen}
            if deadline is not None and clock() >= deadline:
                raise _timed_out(seen, timeout or 0)
            if keep_running is not None and clock() - supervised >= SUPERVISE_SECONDS:
                await _within(None if deadline is None else deadline - clock(), keep_running)
                supervised = clock()
            await mirror.change(_pause(deadline, clock()))


async def _within(seconds: float | None, work: KeepRunning) -> None:
    """What takes longer is broken off, which is no error."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            await work()
    except TimeoutError:
        if not scope.expired():
            raise


def _pause(deadline: float | None, now: float) -> float:
    """How long to sleep without a change: until something else is due."""
    return SUPERVISE_SECONDS / 2 if deadline is None else max(0.0, min(SUPERVISE_SECONDS / 2, deadline - now))


def _timed_out(seen: list[Progress], timeout: float) -> WaitTimeout:
    late = next(progress for progress in seen if not progress.done)
    what = "still there" if isinstance(late.goal, Deleted) else f"still not {late.goal}"
    told = ": ".join(part for part in (late.reason, late.message) if part)
    return WaitTimeout(f"{late.key} is {what} after {timeout:g} s ({told}); it goes on, see `matrix why {late.key}`")
