"""Picking: spread by what is in flight, new ones eased in, doubtful ones last, draining ones never. Time and chance are handed in."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from matrix_client.directory_watch import KnownReplica
from matrix_client.picker import DISTRUST_SECONDS, RAMP_SECONDS, VOUCHED_SECONDS, Candidate, Picker, PowerOfTwo, Wanted
from matrix_proto.state import Load, ReplicaState

APP = "mx-md-chat"
WANTED = Wanted(APP)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def replica(id_: str, ongoing: int = 0, **more: Any) -> KnownReplica:
    given: dict[str, Any] = {
        "application": APP,
        "model": "chat",
        "state": ReplicaState.READY,
        "grpc_address": f"{id_}:1",
        "http_url": "",
        "suspect": False,
        "load": Load(ongoing=ongoing),
    }
    return KnownReplica(id=id_, **(given | more))


def among(*replicas: KnownReplica) -> Mapping[str, KnownReplica]:
    return {replica.id: replica for replica in replicas}


def picker(*replicas: KnownReplica, clock: Clock | None = None) -> Picker:
    made = Picker(PowerOfTwo(random.Random(1)), clock or Clock())
    made.update(among(*replicas))
    return made


def picked(made: Picker, count: int, wanted: Wanted = WANTED) -> Counter[str]:
    """So many requests at once: none of them ends."""
    return Counter(_pick(made, wanted).replica.id for _ in range(count))


def _pick(made: Picker, wanted: Wanted = WANTED) -> Candidate:
    candidate = made.pick(wanted)
    assert candidate is not None
    return candidate


def test_a_burst_spreads_evenly_without_a_word_of_the_directory() -> None:
    counts = picked(picker(*(replica(f"r{n}") for n in range(10))), 1000)

    assert len(counts) == 10
    assert all(97 <= count <= 103 for count in counts.values()), counts


def test_the_same_chance_gives_the_same_picks() -> None:
    replicas = [replica(f"r{n}") for n in range(10)]

    assert picked(picker(*replicas), 57) == picked(picker(*replicas), 57)


def test_what_others_have_in_flight_counts() -> None:
    counts = picked(picker(replica("busy", ongoing=40), replica("idle")), 50)

    assert counts == {"idle": 45, "busy": 5}


def test_waiting_requests_count_twice() -> None:
    counts = picked(picker(replica("queues", load=Load(ongoing=10, waiting=10)), replica("takes", load=Load(ongoing=10))), 10)

    assert counts == {"takes": 10}


def test_own_requests_are_not_counted_twice_when_the_directory_tells_of_them() -> None:
    made = picker(replica("a"), replica("b"))
    assert picked(made, 20) == {"a": 10, "b": 10}

    made.update(among(replica("a", ongoing=10), replica("b", ongoing=10 + 4)))

    assert picked(made, 4) == {"a": 4}


def test_who_is_quick_gets_more() -> None:
    made = picker(replica("quick"), replica("slow"))
    counts: Counter[str] = Counter()
    held: list[Candidate] = []
    for _ in range(300):
        candidate = _pick(made)
        counts[candidate.replica.id] += 1
        if candidate.replica.id == "quick":
            made.release(candidate)
        else:
            held.append(candidate)

    assert counts["quick"] > 290


def test_a_new_replica_is_not_stampeded_and_gets_its_share_in_time() -> None:
    clock = Clock()
    made = picker(*(replica(f"old{n}") for n in range(4)), clock=clock)
    picked(made, 400)
    everybody = [*(replica(f"old{n}", ongoing=100) for n in range(4)), replica("new")]
    made.update(among(*everybody))

    at_once = picked(made, 100)["new"]
    clock.now += RAMP_SECONDS
    later = picked(made, 100)["new"]

    assert at_once <= 12, "a tenth of what each of the others has"
    assert later >= 30


def test_those_that_were_there_at_the_start_are_not_new() -> None:
    clock = Clock()
    made = picker(replica("a"), replica("b"), clock=clock)
    made.update(among(replica("a"), replica("b", state=ReplicaState.STARTING)))
    clock.now += 100
    made.update(among(replica("a", ongoing=50), replica("b")))

    assert picker(replica("a", ongoing=50), replica("b")).pick(WANTED).replica.id == "b"  # type: ignore[union-attr]
    assert picked(made, 20)["b"] <= 6, "one that became ready now is"


NEVER = [
    ("draining", replica("b", state=ReplicaState.DRAINING)),
    ("starting", replica("b", state=ReplicaState.STARTING)),
    ("failed", replica("b", state=ReplicaState.FAILED)),
    ("without an address", replica("b", grpc_address="")),
    ("of another model", replica("b", application="mx-md-other")),
]


@pytest.mark.parametrize("other", [case[1] for case in NEVER], ids=[case[0] for case in NEVER])
def test_never_picked(other: KnownReplica) -> None:
    assert picked(picker(replica("a", ongoing=1000), other), 20) == {"a": 20}
    assert picker(other).pick(WANTED) is None
    assert not picker(other).has(APP)


def test_suspects_only_when_nothing_else_is_there_and_after_a_probe() -> None:
    clock = Clock()
    made = picker(replica("sound", ongoing=1000), replica("suspect", suspect=True), clock=clock)
    assert picked(made, 20) == {"sound": 20}

    made.update(among(replica("suspect", suspect=True)))
    candidate = _pick(made)
    assert made.to_probe(candidate)
    made.vouch(candidate)
    assert not made.to_probe(candidate)
    clock.now += VOUCHED_SECONDS
    assert made.to_probe(candidate)


def test_a_replica_that_failed_stands_behind_for_a_while() -> None:
    clock = Clock()
    made = picker(replica("a"), replica("b"), clock=clock)
    failed = _pick(made)
    made.release(failed)
    made.distrust(failed)

    assert failed.replica.id not in picked(made, 20)
    assert made.to_probe(failed)
    clock.now += DISTRUST_SECONDS
    assert failed.replica.id in picked(made, 20)
    assert not made.to_probe(failed)


TRIED = [
    ({"a"}, "b"),
    ({"a", "b"}, "suspect"),
    ({"a", "suspect"}, "b"),
]


@pytest.mark.parametrize(("tried", "expected"), TRIED)
def test_never_the_same_if_there_is_another(tried: set[str], expected: str) -> None:
    made = picker(replica("a"), replica("b"), replica("suspect", suspect=True))

    assert picked(made, 10, Wanted(APP, tried)) == {expected: 10}


def test_a_name_is_asked_of_the_replicas_that_serve_it() -> None:
    made = picker(*(replica(f"former{n}") for n in range(5)), replica("a", model="new"), replica("b", model="new"))

    assert picked(made, 10, Wanted(APP, model="new")) == {"a": 5, "b": 5}
    assert len(picked(made, 28)) == 7, "without a name all of the application"
    assert made.pick(Wanted(APP, model="newer")) is None
    assert (made.has(APP, "new"), made.has(APP, "newer"), made.has(APP)) == (True, False, True)


def test_the_same_again_when_there_is_no_other() -> None:
    assert picked(picker(replica("a")), 3, Wanted(APP, {"a"})) == {"a": 3}
    assert set(picked(picker(replica("a"), replica("b")), 9, Wanted(APP, {"a", "b"}))) == {"a", "b"}


def test_who_is_gone_is_told_and_its_requests_end_without_harm() -> None:
    made = picker(replica("a"), replica("b"))
    candidates = [_pick(made) for _ in range(2)]

    (gone,) = made.update(among(replica("b")))
    for candidate in candidates:
        made.release(candidate)

    assert (gone.replica.id, gone.gone, gone.reserved) == ("a", True, 0)
    assert (made.knows("a"), made.knows("b")) == (False, True)
    assert picked(made, 3) == {"b": 3}


def test_a_policy_of_ones_own() -> None:
    class First:
        def choose(self, candidates: Sequence[Candidate], wanted: Wanted, now: float) -> Candidate:
            return min(candidates, key=lambda candidate: candidate.replica.id)

    made = Picker(First(), Clock())
    made.update(among(replica("b"), replica("a"), replica("draining", state=ReplicaState.DRAINING)))

    assert picked(made, 5) == {"a": 5}


def test_a_pick_is_quick_with_five_hundred_replicas() -> None:
    made = picker(*(replica(f"r{n}", ongoing=n % 7) for n in range(500)))
    count = 5000
    begun = time.process_time()
    for _ in range(count):
        made.release(_pick(made))
    each = (time.process_time() - begun) / count

    print(f"a pick among 500 replicas: {each * 1e6:.1f} us")
    assert each < 50e-6


def test_no_herd_on_a_load_that_is_a_second_old() -> None:
    """Forty clients, each with a view of the others that is old: the least loaded of all would get everything; of two, twice its part."""
    replicas = [f"r{n}" for n in range(20)]
    clients = [Picker(PowerOfTwo(random.Random(seed)), Clock()) for seed in range(40)]
    ongoing: Counter[str] = Counter()
    for _ in range(10):
        for client in clients:
            client.update(among(*(replica(id_, ongoing=ongoing[id_]) for id_ in replicas)))
        now = sum((picked(client, 25) for client in clients), Counter())
        ongoing += now
        assert max(now[id_] for id_ in replicas) < 2.5 * 1000 / 20, now

    assert max(ongoing.values()) < 1.15 * min(ongoing.values()), ongoing
