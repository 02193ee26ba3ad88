"""One agent for each site's shared directory, on whatever login node: a file that only one can make, and a heartbeat beside it.

On this host the holder is judged by its process. On another one it is alive while its beat moves, and given up when that has stood still
for STALE_SECONDS of our own clock. Nothing here needs the file system's locks, which network file systems have or have not: link(2) makes
a file in one step on all of them, for one alone.

A lock that is taken over is not removed first, or two might do so, the second one with the lock that the first has just made. Whoever takes
over makes a claim, a file named by the holder's token, and there can be one only. The holder is the last of the chain: the claim on the
lock's token, the claim on that one's, and so on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from matrix_slurm_bridge.agent.errors import LockedElsewhere, LockLost, Unusable
from matrix_store.owner import Liveness, Owner, judge, this_process

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
"""How long another host's beat must stand still before its lock is taken over. Network file systems show a write seconds later."""
SAFE_SECONDS = 18.0
"""How long the holder may act after its last heartbeat: the rest is for what it has begun and for a slow file system."""
_LOOK_SECONDS = 0.5
_LOCK = "lock"


def running_time() -> float:
    """Seconds that no setting of the clock moves and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Holder:
    """Who has the lock."""

    owner: Owner
    liveness: Liveness
    token: str
    beat: str

    def __str__(self) -> str:
        return f"process {self.owner.pid} on host {self.owner.host}"


class AgentLock:
    """The lock of one directory, as seen by one process. Calls may block as long as the file system does. They raise Unusable."""

    def __init__(
        self,
        directory: Path,
        here: Owner | None = None,
        now: Callable[[], float] = running_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._here = here or this_process()
        self._now = now
        self._sleep = sleep
        self._token = os.urandom(16).hex()
        self._beats = 0
        self._last_beat: float | None = None

    def acquire(self) -> None:
        """Take it, from a holder that is gone as well. Waits up to STALE_SECONDS to see whether another host's holder lives. Raises
        LockedElsewhere, naming the process and its host."""
        first: Holder | None = None
        since = self._now()
        while not self._make():
            holder = self.holder()
            if holder is None:
                continue
            if first is None or first.token != holder.token:
                first, since = holder, self._now()
            if holder.liveness is Liveness.ALIVE or holder.beat != first.beat:
                raise LockedElsewhere(f"an agent works on {self._directory.parent} already ({holder}): use that one, or end it there")
            if holder.liveness is not Liveness.GONE and self._now() - since < STALE_SECONDS:
                self._sleep(_LOOK_SECONDS)
            elif self._take_over(holder):
                return

    def heartbeat(self) -> None:
        """Say that the holder lives; every HEARTBEAT_SECONDS. Raises LockLost when another one has taken over: stop at once."""
        began = self._now()  # the time before the write: the beat can't have moved any earlier
        try:
            self._beat()
            holder = self.holder()
        except OSError as error:
            raise _unusable(self._directory, error) from error
        if holder is None or holder.token != self._token:
            self._last_beat = None
            self._remove(f"beat-{self._token}")
            raise LockLost(f"{self._directory.parent} was taken over by {holder or 'someone who has gone since'}: this agent must end")
        self._last_beat = began

    def safe_to_act(self) -> bool:
        """Whether the last heartbeat is so recent that no one can have taken over: ask before every outside effect."""
        return self._last_beat is not None and self._now() - self._last_beat < SAFE_SECONDS

    def release(self) -> None:
        """Give it back; harmless when it is not ours. One that somebody may be taking over is left to be taken over."""
        safe, self._last_beat = self.safe_to_act(), None
        holder = self.holder()
        if safe and holder is not None and holder.token == self._token:
            self._remove(_LOCK, f"beat-{self._token}")

    def holder(self) -> Holder | None:
        """Who has it now, whether alive or not; None if nobody."""
        holder = self._read(_LOCK)
        while holder is not None and (later := self._read(_claim(holder))) is not None:
            holder = later
        return holder

    def _read(self, name: str) -> Holder | None:
        try:
            found = json.loads((self._directory / name).read_text())
            owner = Owner(**found["owner"])
            return Holder(owner, judge(owner, self._here), found["token"], self._read_beat(found["token"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._directory, error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise Unusable(f"{self._directory / name} is not a lock of an agent ({error}): see what it is, and delete it") from error

    def _make(self) -> bool:
        """False when there is one already."""
        return self._link(_LOCK)

    def _take_over(self, holder: Holder) -> bool:
        """In the place of that holder and of no other; of several that try, one does. What there was before is tidied away."""
        claim = _claim(holder)
        if not self._link(claim):
            return False
        last = self.holder()
        if last is None or last.token != self._token:  # the chain went another way before the claim was made
            self._remove(claim)
            return False
        try:
            (self._directory / claim).rename(self._directory / _LOCK)
        except OSError as error:
            raise _unusable(self._directory, error) from error
        self._remove(f"beat-{holder.token}")
        return True

    def _link(self, name: str) -> bool:
        """Make that file, which says who we are; False when there is one."""
        began = self._now()
        draft = self._directory / f"draft-{self._token}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._beat()
            draft.write_text(json.dumps({"token": self._token, "owner": asdict(self._here)}))
            (self._directory / name).hardlink_to(draft)
        except FileExistsError:
            return False
        except OSError as error:
            raise _unusable(self._directory, error) from error
        finally:
            self._remove(draft.name)
        self._last_beat = began
        return True

    def _remove(self, *names: str) -> None:
        for name in names:
            with suppress(OSError):
                (self._directory / name).unlink()

    def _beat(self) -> None:
        self._beats += 1
        (self._directory / f"beat-{self._token}").write_text(str(self._beats))

    def _read_beat(self, token: str) -> str:
        try:
            return (self._directory / f"beat-{token}").read_text()
        except FileNotFoundError:
            return ""


def _claim(holder: Holder) -> str:
    return f"claim-{holder.token}"


def _unusable(directory: Path, error: OSError) -> Unusable:
    return Unusable(f"{error.filename or directory}: {error.strerror}; the agent needs to write there: check its owner, mode and space")
