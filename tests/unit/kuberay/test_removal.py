"""How far a cluster's end is."""

from __future__ import annotations

import pytest

from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.removal import companions, still_owned, teardown
from matrix_operator.backends.kuberay.render import services
from matrix_operator.backends.kuberay.sight import Sight
from matrix_operator.backends.port import RemovalState
from tests.unit.kuberay.builders import NOW, cluster, ending, live, pod


def held(of: Object) -> Object:
    gone = ending(of)
    return gone | {"metadata": gone["metadata"] | {"finalizers": ["ray.io/gcs-ft-redis-cleanup-finalizer"]}}


ROWS: list[tuple[str, Sight, RemovalState, str, bool]] = [
    ("there", Sight(live(cluster()), (pod(),)), RemovalState.GOING, "the RayCluster is being deleted", True),
    ("asked to go", Sight(ending(live(cluster()))), RemovalState.GOING, "the RayCluster is being deleted", False),
    ("held", Sight(held(live(cluster()))), RemovalState.GOING, "held by ray.io/gcs-ft-redis-cleanup-finalizer", False),
    ("pods linger", Sight(None, (ending(pod()), ending(pod("w")))), RemovalState.GOING, "2 pods are ending: lab-head-x, w", False),
    (
        "many pods linger",
        Sight(None, tuple(pod(f"w-{index}") for index in range(5))),
        RemovalState.GOING,
        "5 pods are ending: w-0, w-1, w-2 and 2 more",
        False,
    ),
    (
        "a machine is silent",
        Sight(None, (ending(pod(), seconds=100),)),
        RemovalState.GOING,
        "its machine node-1 does not answer. Once that machine is off for sure: kubectl delete pod lab-head-x -n team --force",
        False,
    ),
    ("nothing is left", Sight(None), RemovalState.GONE, "", False),
]


@pytest.mark.parametrize(("seen", "state", "words", "deletes"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_end_in_words(seen: Sight, state: RemovalState, words: str, deletes: bool) -> None:
    found = teardown(cluster(), seen, NOW)
    assert found.removal.state is state
    assert words in found.removal.message
    assert found.delete == (seen.ray_cluster if deletes else None)


def test_pods_that_would_be_drained_are_hastened_once_nobody_makes_others() -> None:
    slow, quick, fresh = ending(pod("slow")), ending(pod("quick")), pod("fresh")
    slow["metadata"]["deletionGracePeriodSeconds"] = 330
    quick["metadata"]["deletionGracePeriodSeconds"] = 10
    assert teardown(cluster(), Sight(None, (slow, quick, fresh)), NOW).hasten == (slow, fresh)
    assert teardown(cluster(), Sight(ending(live(cluster())), (slow,)), NOW).hasten == ()


def test_what_is_not_ours_is_left_alone_and_does_not_hold_us_up() -> None:
    foreign = live(cluster(uid="another"))
    found = teardown(cluster(), Sight(foreign), NOW)
    assert (found.removal.state, found.delete) == (RemovalState.GONE, None)


def test_the_service_and_the_tokens_go_and_the_users_credentials_stay() -> None:
    assert companions(cluster()) == (
        ("Service", "lab-gateway"),
        ("Secret", "lab-api-keys"),
        ("Secret", "lab-client-token"),
        ("Secret", "lab-ray-token"),
    )


def test_what_the_garbage_collector_would_take_is_found() -> None:
    owned, orphaned = (services(cluster({"deletionPolicy": policy})) for policy in ("Delete", "Orphan"))
    assert still_owned(cluster(), [*owned, *orphaned]) == list(owned)
