"""Which replica takes the next request. Pure: no I/O; time and chance are handed in.

Each request reserves its replica when it is picked, so a burst spreads at once instead of herding on a load that is a second old. On top
of the own reservations comes what others had there when the directory told of it last. Of two replicas taken by chance the less loaded
one is picked (power of two choices: Mitzenmacher 2001), which is nearly as good as looking at all, and does not herd.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from matrix_client.directory_watch import KnownReplica
from matrix_proto.state import ReplicaState

RAMP_SECONDS = 10.0
"""A replica that comes to others takes on its share over so many seconds: its caches are cold, and everybody sees it idle."""
RAMP_FLOOR = 0.1
"""The part of its share that it takes at once."""
DISTRUST_SECONDS = 2.0
"""How long a replica that failed stands behind the others, unless it is found well: about as long as the directory needs to notice."""
VOUCHED_SECONDS = 1.0
"""How long a probe holds."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A replica, and what is known of its load here."""

    replica: KnownReplica
    since: float
    """When it came, in seconds of the clock; -inf when it was there before us."""
    reserved: int = 0
    """Requests of ours that it has."""
    others: int = 0
    """Requests of others, as of the last word of the directory, and of all those that the engine has not taken up."""
    gone: bool = False
    """The directory does not know it any more."""
    distrusted_until: float = -math.inf
    vouched_until: float = -math.inf

    def load(self, now: float) -> float:
        """What counts: requests, the next one included; more while it is new."""
        requests, age = self.reserved + self.others + 1, now - self.since
        return requests if age >= RAMP_SECONDS else requests / max(age / RAMP_SECONDS, RAMP_FLOOR)

    def doubtful(self, now: float) -> bool:
        """Whether to use it only when there is nothing better."""
        return self.replica.suspect or now < self.distrusted_until


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of a replica."""

    application: str
    tried: Collection[str] = ()
    """Ids of replicas that have failed this very request: not these, if there is another."""
    model: str = ""
    """Only replicas that serve this name; "": any."""


class Policy(Protocol):
    """How to choose among replicas that may all be used."""

    def choose(self, candidates: Sequence[Candidate], wanted: Wanted, now: float) -> Candidate:
        """One of `candidates`, of which there is at least one."""
        ...


class PowerOfTwo:
    """The less loaded of two taken by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random

    def choose(self, candidates: Sequence[Candidate], wanted: Wanted, now: float) -> Candidate:
        count = len(candidates)
        if count == 1:
            return candidates[0]
        one, other = int(self._random() * count), int(self._random() * (count - 1))
        first, second = candidates[one], candidates[other if other < one else other + 1]
        return first if first.load(now) <= second.load(now) else second


@dataclass(slots=True)
class _Group:
    """The replicas of one application that may be used, all or those that serve one name: the sound ones, and those to probe first."""

    sound: list[Candidate] = field(default_factory=list)
    doubtful: list[Candidate] = field(default_factory=list)

    def best(self, tried: Collection[str]) -> Sequence[Candidate]:
        if not tried:
            return self.sound or self.doubtful
        for listed in (self.sound, self.doubtful):
            fresh = [candidate for candidate in listed if candidate.replica.id not in tried]
            if fresh:
                return fresh
        return self.sound or self.doubtful


class Picker:
    """Keeps the reservations, and picks."""

    def __init__(self, policy: Policy | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or PowerOfTwo(random.Random())
        self._clock = clock
        self._candidates: dict[str, Candidate] = {}
        self._groups: dict[tuple[str, str], _Group] | None = None
        """By application and served name ("": all of the application). None when they must be made anew."""
        self._stale_at = math.inf
        """When a distrust ends."""

    def update(self, replicas: Mapping[str, KnownReplica]) -> list[Candidate]:
        """Takes what the directory knows now, and returns those that are gone since."""
        now = self._clock() if self._candidates else -math.inf
        for id_, replica in replicas.items():
            known = self._candidates.get(id_)
            if known is None:
                self._candidates[id_] = Candidate(replica, now, others=_others(replica, 0))
            elif known.replica is not replica:
                if known.replica.state is not ReplicaState.READY and replica.state is ReplicaState.READY:
                    known.since = now
                known.replica, known.others = replica, _others(replica, known.reserved)
        gone = [self._candidates.pop(id_) for id_ in self._candidates.keys() - replicas.keys()]
        for candidate in gone:
            candidate.gone = True
        self._groups = None
        return gone

    def pick(self, wanted: Wanted) -> Candidate | None:
        """A replica for the request, reserved: `release` it when the request is done. None when there is none to use."""
        now = self._clock()
        if self._groups is None or now >= self._stale_at:
            self._groups = self._grouped(now)
        group = self._groups.get((wanted.application, wanted.model))
        if group is None:
            return None
        candidate = self._policy.choose(group.best(wanted.tried), wanted, now)
        candidate.reserved += 1
        return candidate

    def has(self, application: str, model: str = "") -> bool:
        """Whether `pick` would find one."""
        of_it = (c.replica for c in self._candidates.values() if c.replica.application == application)
        return any(_usable(replica) and model in ("", replica.model) for replica in of_it)

    def knows(self, id_: str) -> bool:
        """Whether the directory knows the replica, in whatever state."""
        return id_ in self._candidates

    def release(self, candidate: Candidate) -> None:
        """The request is done, however it ended."""
        candidate.reserved -= 1

    def to_probe(self, candidate: Candidate) -> bool:
        """Whether a sign of life must be had before it is used."""
        now = self._clock()
        return candidate.doubtful(now) and now >= candidate.vouched_until

    def vouch(self, candidate: Candidate) -> None:
        """It gave a sign of life."""
        candidate.vouched_until = self._clock() + VOUCHED_SECONDS

    def distrust(self, candidate: Candidate) -> None:
        """It could not be reached, or takes no requests: others first, for a while."""
        candidate.distrusted_until = self._clock() + DISTRUST_SECONDS
        candidate.vouched_until = -math.inf
        self._groups = None

    def _grouped(self, now: float) -> dict[tuple[str, str], _Group]:
        groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
        self._stale_at = math.inf
        for candidate in self._candidates.values():
            if not _usable(candidate.replica):
                continue
            doubtful = candidate.doubtful(now)
            for model in {candidate.replica.model, ""}:
                group = groups[candidate.replica.application, model]
                (group.doubtful if doubtful else group.sound).append(candidate)
            if candidate.distrusted_until > now:
                self._stale_at = min(self._stale_at, candidate.distrusted_until)
        return dict(groups)


def _usable(replica: KnownReplica) -> bool:
    return replica.state is ReplicaState.READY and bool(replica.grpc_address)


def _others(replica: KnownReplica, own: int) -> int:
    return max(0, replica.load.ongoing - own) + replica.load.waiting
