"""The controller's lock: one row of the state file. At most one controller acts on a state directory, on whatever host.

On this host the holder is judged by its process (owner.py). On another one it is alive while its heartbeat counter moves, and given
up when the counter has stood still for STALE_SECONDS of our own clock that no one can set. No two clocks are ever compared.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from matrix_store.connection import Connection
from matrix_store.errors import LockedElsewhere
from matrix_store.faults import corrupt
from matrix_store.owner import Liveness, Owner, judge, this_process

HEARTBEAT_SECONDS = 3.0
STALE_SECONDS = 15.0
"""How long another host's counter must stand still before its lock is taken over."""
SAFE_SECONDS = STALE_SECONDS - HEARTBEAT_SECONDS
"""How long the holder may act after its last heartbeat: the rest is for what it has begun."""
_LOOK_SECONDS = 0.5


def running_time() -> float:
    """Seconds that no setting of the clock moves and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Holder:
    """Who has the lock."""

    owner: Owner
    liveness: Liveness
    details: Mapping[str, Any]
    """What it announced: how others reach it."""
    token: str
    beats: int

    def __str__(self) -> str:
        return f"process {self.owner.pid}" if self.liveness is Liveness.ALIVE else f"process {self.owner.pid} on host {self.owner.host}"


class ControllerLock:
    """The lock of one state file, as seen by one process. Calls are short, except for `acquire`. They raise StoreErrors."""

    def __init__(
        self,
        connection: Connection,
        here: Owner | None = None,
        now: Callable[[], float] = running_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._here = here or this_process()
        self._now = now
        self._sleep = sleep
        self._token = os.urandom(16).hex()
        self._last_beat: float | None = None

    def acquire(self, details: Mapping[str, Any] | None = None) -> None:
        """Take the lock, from a holder that is gone as well. Waits up to STALE_SECONDS to see whether another host's holder lives.
        Raises LockedElsewhere, naming the process or the host."""
        first_seen: Holder | None = None
        since = self._now()
        while True:
            stands_still = first_seen is not None and self._now() - since >= STALE_SECONDS
            holder = self._take(details or {}, stale=first_seen if stands_still else None)
            if holder is None:
                return
            if first_seen is None:
                first_seen = holder
            _refuse_living(holder, first_seen)
            self._sleep(_LOOK_SECONDS)

    def heartbeat(self) -> None:
        """Say that the holder lives; every HEARTBEAT_SECONDS. Raises LockedElsewhere when the lock was lost: stop at once."""
        self._update("beats = beats + 1")

    def announce(self, details: Mapping[str, Any]) -> None:
        """Replace the details. Raises LockedElsewhere as `heartbeat` does."""
        self._update("beats = beats + 1, details = ?", json.dumps(dict(details)))

    def safe_to_act(self) -> bool:
        """Whether the last heartbeat is so recent that no one can have taken over, and the file that it is in is still the one in
        force: ask before every outside effect."""
        return self._last_beat is not None and self._now() - self._last_beat < SAFE_SECONDS and self._connection.in_place

    def release(self) -> None:
        """Give it back; harmless when it is not ours."""
        self._last_beat = None
        with self._connection.write(durable=False):
            self._connection.execute("DELETE FROM controller WHERE token = ?", (self._token,))

    def holder(self) -> Holder | None:
        """Who has it now, whether alive or not; None if nobody."""
        rows = self._connection.rows("SELECT token, owner, details, beats FROM controller")
        return self._read(*rows[0]) if rows else None

    def _take(self, details: Mapping[str, Any], *, stale: Holder | None) -> Holder | None:
        """Take it if it is free, its holder gone, or still just as `stale` left it; else say who holds it."""
        began = self._now()
        with self._connection.write(durable=True):
            holder = self.holder()
            if holder is not None and holder.liveness is not Liveness.GONE and not _same_beat(holder, stale):
                return holder
            row = (self._token, json.dumps(asdict(self._here)), json.dumps(dict(details)))
            self._connection.execute("INSERT OR REPLACE INTO controller VALUES (1, ?, ?, ?, 0)", row)
        self._last_beat = began
        return None

    def _update(self, assignment: str, *values: object) -> None:
        began = self._now()  # the time before the write: the counter can't have moved any earlier
        with self._connection.write(durable=False):
            ours = self._connection.execute(f"UPDATE controller SET {assignment} WHERE token = ?", (*values, self._token))
        if not ours:
            self._last_beat = None
            holder = self.holder()
            raise LockedElsewhere(
                f"{self._connection.path} was taken over by {holder or 'someone who has gone since'}: this controller must end"
            )
        self._last_beat = began

    def _read(self, token: str, owner: str, details: str, beats: int) -> Holder:
        try:
            who = Owner(**json.loads(owner))
            return Holder(who, judge(who, self._here), json.loads(details), token, beats)
        except (ValueError, TypeError) as error:
            raise corrupt(self._connection.path, f"the controller's row can't be read: {error}") from error


def _same_beat(holder: Holder, other: Holder | None) -> bool:
    return other is not None and (holder.token, holder.beats) == (other.token, other.beats)


def _refuse_living(holder: Holder, first_seen: Holder) -> None:
    if holder.liveness is Liveness.ALIVE:
        raise LockedElsewhere(f"a controller runs here already ({holder}): use it, or end it with `kill {holder.owner.pid}`")
    if not _same_beat(holder, first_seen):
        raise LockedElsewhere(
            f"a controller runs on host {holder.owner.host} (process {holder.owner.pid}): use Matrix there, or end it there first"
        )
