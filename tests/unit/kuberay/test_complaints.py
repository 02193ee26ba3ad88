"""Pods that hang before their containers: what the kubelet says of them, and how seldom it is asked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.complaints import AGAIN, Complaints
from matrix_operator.backends.kuberay.mounts import hangs, in_words, latest
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.pod_state import node_state
from matrix_operator.backends.port import NodePhase
from tests.unit.kuberay.builders import NOW, START, after, cluster, condition, ending, pod
from tests.unit.store.kubernetes.server import api
from tests.unit.store.support import run

CREATING = {"name": "ray-head", "state": {"waiting": {"reason": "ContainerCreating"}}}
MISSING = 'MountVolume.SetUp failed for volume "matrix-secrets" : secret "lab-ray-token" not found'
LAB = cluster()


def stuck(name: str = "lab-head-x", *, network: str = "False", status: Object = CREATING, **fields: Any) -> Object:
    """Placed a second after the start, and no further."""
    conditions = [condition("PodScheduled", seconds=1), condition("PodReadyToStartContainers", network)]
    return pod(name, **{"phase": "Pending", "conditions": conditions, "containerStatuses": [status], **fields})


def event(message: str = MISSING, reason: str = "FailedMount", seconds: float = 5) -> Object:
    return {"metadata": {"name": "e", "creationTimestamp": after(1)}, "reason": reason, "message": message, "lastTimestamp": after(seconds)}


def test_a_pod_hangs_when_it_has_a_machine_and_neither_volumes_nor_network() -> None:
    assert hangs(stuck(), NOW)
    assert not hangs(stuck(), START + timedelta(seconds=9))
    assert not hangs(stuck(network="True"), NOW)  # its image is being pulled
    assert not hangs(stuck(conditions=[condition("PodScheduled", "False", "Unschedulable")]), NOW)
    assert not hangs(ending(stuck()), NOW)
    assert not hangs(pod(ready=False), NOW)
    assert not hangs(stuck(status={"name": "ray-head", "state": {"running": {}}}), NOW)


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (MISSING, ClusterReason.SECRET_MISSING, 'secret "lab-ray-token" not found; make it'),
        ('MountVolume.SetUp failed for volume "x" : configmap "c" not found', ClusterReason.SECRET_MISSING, 'configmap "c" not found'),
        ('MountVolume.SetUp failed for volume "x" : references non-existent secret key: k', ClusterReason.SECRET_MISSING, "secret key: k"),
        ('Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other', ClusterReason.START_FAILED, "Multi-Attach"),
        ("hostPath type check failed: /models is not a directory", ClusterReason.START_FAILED, "/models is not a directory"),
    ],
)
def test_a_complaint_in_words(message: str, reason: ClusterReason, words: str) -> None:
    found = in_words(event(message))
    assert found.reason is reason
    assert words in found.message


def test_of_several_the_last_counts_and_of_other_sorts_none() -> None:
    first, last, other = event("first"), event("last", seconds=9), event("Back-off", "BackOff", 20)
    assert latest([last, first, other]) == last
    assert latest([other]) is None


def test_the_state_of_the_node_says_it() -> None:
    state = node_state(stuck(), was_ready=False, now=NOW, complaint=event())
    assert (state.phase, state.reason) == (NodePhase.FAILED, ClusterReason.SECRET_MISSING)
    unplaced = stuck(conditions=[condition("PodScheduled", "False", "Unschedulable", "no room")])
    assert "no room" in node_state(unplaced, was_ready=False, now=NOW, complaint=event()).message


class Server:
    """An API server that has these events, and counts how often it is asked for whose."""

    def __init__(self, *events: Object) -> None:
        self.events = events
        self.asked: list[str] = []
        self.code = 200

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/namespaces/team/events"
        self.asked.append(request.url.params["fieldSelector"])
        return httpx2.Response(self.code, json={"metadata": {"resourceVersion": "1"}, "items": list(self.events)})


def look(found: Complaints, *pods: Object, at: datetime = NOW) -> dict[str, Object]:
    return dict(run(found.of(LAB, pods, at)))


def test_one_that_hangs_is_asked_about_once_in_a_while() -> None:
    server = Server(event())
    found = Complaints(api(server.answer))
    assert look(found, pod()) == {} and server.asked == []
    for seconds in (0, 1, 14):
        assert look(found, stuck(), at=NOW + timedelta(seconds=seconds)) == {"uid-lab-head-x": event()}
    assert server.asked == ["involvedObject.uid=uid-lab-head-x,type=Warning"]
    look(found, stuck(), at=NOW + AGAIN)
    assert len(server.asked) == 2
    assert look(found, pod(), at=NOW + AGAIN) == {}
    assert look(found, stuck(network="True"), at=NOW + AGAIN) == {}
    assert len(server.asked) == 2


def test_of_many_that_hang_one_is_asked_about_at_a_time() -> None:
    server = Server(event())
    found = Complaints(api(server.answer))
    many = [stuck(f"w-{number}") for number in range(9)]
    assert list(look(found, *many)) == ["uid-w-0"]
    assert list(look(found, *many, at=NOW + timedelta(seconds=0.1))) == ["uid-w-0"]
    assert list(look(found, *many, at=NOW + timedelta(seconds=1))) == ["uid-w-0", "uid-w-1"]
    assert len(server.asked) == 2


def test_a_look_that_fails_leaves_what_is_known() -> None:
    server = Server(event())
    found = Complaints(api(server.answer))
    look(found, stuck())
    server.code = 503
    assert look(found, stuck(), at=NOW + AGAIN) == {"uid-lab-head-x": event()}
    assert len(server.asked) == 2
