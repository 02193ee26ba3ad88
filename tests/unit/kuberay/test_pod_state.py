"""A pod, as the backend tells of it: one row for each thing that happens to pods."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.pod_state import node_state
from matrix_operator.backends.port import NodePhase
from tests.unit.kuberay.builders import NOW, START, after, condition, ending, pod

SCHEDULED = condition("PodScheduled")
NOT_READY = condition("Ready", "False", "ContainersNotReady")


def waiting(reason: str, message: str = "", **fields: Any) -> Object:
    status = {"name": "ray", "image": "example.org/own:3", "state": {"waiting": {"reason": reason, "message": message}}} | fields
    return pod(ready=False, phase="Pending", containerStatuses=[status])


def ended(reason: str, code: int, message: str = "") -> Object:
    return {"terminated": {"reason": reason, "exitCode": code, "message": message}}


def init(state: Object, main: str = "PodInitializing") -> Object:
    first = {"name": "wait-gcs-ready", "state": state}
    return waiting(main) | {"status": waiting(main)["status"] | {"initContainerStatuses": [first]}}


def unscheduled(message: str, reason: str = "Unschedulable") -> Object:
    found = pod(ready=False, phase="Pending", conditions=[condition("PodScheduled", "False", reason, message)], containerStatuses=[])
    return found | {"spec": {}}


def failed(reason: str = "", message: str = "", **fields: Any) -> Object:
    return pod(ready=False, phase="Failed", reason=reason, message=message, conditions=[SCHEDULED, NOT_READY], **fields)


def disrupted(reason: str) -> Object:
    return ending(pod(conditions=[SCHEDULED, condition("Ready"), condition("DisruptionTarget", "True", reason)]))


ROWS: list[tuple[str, Object, NodePhase, ClusterReason | None, str]] = [
    ("ready", pod(), NodePhase.RUNNING, None, ""),
    ("Ray starts", pod(ready=False), NodePhase.STARTING, None, "Ray starts in it"),
    ("not seen by the scheduler", pod(ready=False, conditions=[]) | {"spec": {}}, NodePhase.STARTING, None, "waits for the scheduler"),
    (
        "no machine",
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        NodePhase.STARTING,
        ClusterReason.UNSCHEDULABLE,
        "3 Insufficient nvidia.com/gpu.); lower its resources",
    ),
    (
        "no such claim",
        unscheduled('0/1 nodes are available: persistentvolumeclaim "results" not found.'),
        NodePhase.STARTING,
        ClusterReason.UNSCHEDULABLE,
        'persistentvolumeclaim "results" not found.); correct the claim\'s name in spec.storage or spec.modelCache, or make the claim',
    ),
    (
        "a claim without a volume",
        unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        NodePhase.STARTING,
        ClusterReason.UNSCHEDULABLE,
        "a claim has no volume yet: `kubectl describe pvc -n team` says why",
    ),
    (
        "a claim on another machine",
        unscheduled("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had volume node affinity conflict."),
        NodePhase.STARTING,
        ClusterReason.UNSCHEDULABLE,
        "a claim's volume is on another machine",
    ),
    ("gated", unscheduled("gated", "SchedulingGated"), NodePhase.STARTING, ClusterReason.QUEUED, "scheduling gate"),
    ("being made", waiting("ContainerCreating"), NodePhase.STARTING, None, "kubectl describe pod lab-head-x -n team"),
    (
        "image not found",
        waiting("ErrImagePull", "not found"),
        NodePhase.FAILED,
        ClusterReason.IMAGE_PULL_FAILED,
        "the image example.org/own:3 can't be pulled (ErrImagePull: not found); correct spec.backend.kubernetes.image",
    ),
    ("image back-off", waiting("ImagePullBackOff"), NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, "can't be pulled"),
    ("image never pulled", waiting("ErrImageNeverPull"), NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, "can't be pulled"),
    ("image's name", waiting("InvalidImageName"), NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, "can't be pulled"),
    (
        "Secret missing",
        waiting("CreateContainerConfigError", 'secret "lab-ray-token" not found'),
        NodePhase.FAILED,
        ClusterReason.SECRET_MISSING,
        'secret "lab-ray-token" not found; make it',
    ),
    (
        "key of a Secret missing",
        waiting("CreateContainerConfigError", "couldn't find key auth_token in Secret team/lab-ray-token"),
        NodePhase.FAILED,
        ClusterReason.SECRET_MISSING,
        "make it",
    ),
    (
        "image runs as root",
        waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
        NodePhase.FAILED,
        ClusterReason.START_FAILED,
        "image will run as root",
    ),
    (
        "crash loop",
        waiting("CrashLoopBackOff", "back-off 40s", lastState=ended("Error", 1, "Traceback\nray: not found")),
        NodePhase.FAILED,
        ClusterReason.START_FAILED,
        "exit code 1 (Error: ray: not found)); see `kubectl logs lab-head-x -n team -c ray --previous`",
    ),
    (
        "crash loop for lack of memory",
        waiting("CrashLoopBackOff", "back-off 40s", lastState=ended("OOMKilled", 137)),
        NodePhase.FAILED,
        ClusterReason.OUT_OF_MEMORY,
        "raise resources.memory",
    ),
    ("unknown to us", waiting("SomethingNew", "text"), NodePhase.STARTING, None, "SomethingNew: text"),
    ("waits for the head", init({"running": {"startedAt": after(2)}}), NodePhase.STARTING, None, "it waits for the head"),
    (
        "the init container's image",
        init({"waiting": {"reason": "ErrImagePull"}}),
        NodePhase.FAILED,
        ClusterReason.IMAGE_PULL_FAILED,
        "can't be pulled",
    ),
    ("after the init container", init(ended("Completed", 0)), NodePhase.STARTING, None, "waits for the init containers"),
    (
        "container ended",
        pod(ready=False, containerStatuses=[{"name": "ray", "state": ended("Error", 1)}]),
        NodePhase.RECOVERING,
        ClusterReason.RECOVERING,
        "exit code 1 (Error); it is started again",
    ),
    (
        "the autoscaler ended",
        pod(
            ready=False,
            containerStatuses=[{"name": "autoscaler", "state": ended("Error", 1)}, {"name": "ray-head", "state": {"running": {}}}],
        ),
        NodePhase.RECOVERING,
        ClusterReason.RECOVERING,
        "autoscaler ended with exit code 1 (Error); nobody starts it again, so no group grows or shrinks: `kubectl logs lab-head-x -n team",
    ),
    (
        "container out of memory",
        pod(ready=False, containerStatuses=[{"name": "ray", "state": ended("OOMKilled", 137)}]),
        NodePhase.RECOVERING,
        ClusterReason.OUT_OF_MEMORY,
        "raise resources.memory",
    ),
    (
        "started again",
        pod(ready=False, containerStatuses=[{"name": "ray", "restartCount": 2, "state": {"running": {}}, "lastState": ended("Error", 1)}]),
        NodePhase.RECOVERING,
        ClusterReason.RECOVERING,
        "it was started again (2 times so far)",
    ),
    (
        "evicted",
        failed("Evicted", "low on disk"),
        NodePhase.RECOVERING,
        ClusterReason.EVICTED,
        "evicted the pod (low on disk); KubeRay makes",
    ),
    ("node shut down", failed("Terminated"), NodePhase.RECOVERING, ClusterReason.EVICTED, "shut down"),
    ("refused by its machine", failed("UnexpectedAdmissionError"), NodePhase.RECOVERING, ClusterReason.START_FAILED, "refused it"),
    ("no room after all", failed("OutOfcpu"), NodePhase.RECOVERING, ClusterReason.UNSCHEDULABLE, "cpu"),
    (
        "failed for itself",
        failed(containerStatuses=[{"name": "ray", "state": ended("Error", 3)}]),
        NodePhase.RECOVERING,
        ClusterReason.RECOVERING,
        "the pod ended with exit code 3 (Error); KubeRay makes another pod",
    ),
    (
        "failed before its containers",
        failed(initContainerStatuses=[{"name": "matrix-directories", "state": ended("Error", 1, "mkdir: Permission denied")}]),
        NodePhase.RECOVERING,
        ClusterReason.RECOVERING,
        "exit code 1 (Error: mkdir: Permission denied); KubeRay makes another pod",
    ),
    ("failed without a word", failed(), NodePhase.RECOVERING, ClusterReason.RECOVERING, "KubeRay makes another pod"),
    ("ending", ending(pod()), NodePhase.RECOVERING, ClusterReason.RECOVERING, "the pod is being deleted"),
    ("preempted", disrupted("PreemptionByScheduler"), NodePhase.RECOVERING, ClusterReason.EVICTED, "higher priority"),
    ("given up with its machine", disrupted("DeletionByTaintManager"), NodePhase.RECOVERING, ClusterReason.NODE_LOST, "machine"),
    ("drained", disrupted("EvictionByEvictionAPI"), NodePhase.RECOVERING, ClusterReason.EVICTED, "emptied"),
    (
        "machine silent",
        pod(conditions=[SCHEDULED, condition("ContainersReady"), condition("Ready", "False")]),
        NodePhase.RECOVERING,
        ClusterReason.NODE_LOST,
        "its machine node-1 does not answer",
    ),
]


@pytest.mark.parametrize(("found", "phase", "reason", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_pod_in_words(found: Object, phase: NodePhase, reason: ClusterReason | None, words: str) -> None:
    state = node_state(found, was_ready=False, now=NOW)
    assert (state.name, state.phase, state.reason) == ("lab-head-x", phase, reason)
    assert words in state.message


def test_a_container_that_has_just_begun_to_be_made_raises_no_suspicion() -> None:
    assert (
        node_state(waiting("ContainerCreating"), was_ready=False, now=START + timedelta(seconds=30)).message
        == "its container is being made"
    )


def test_what_does_not_run_after_all_was_up_is_being_brought_back() -> None:
    state = node_state(pod(ready=False), was_ready=True, now=NOW)
    assert (state.phase, state.reason) == (NodePhase.RECOVERING, ClusterReason.RECOVERING)
    assert node_state(waiting("ErrImagePull"), was_ready=True, now=NOW).phase is NodePhase.FAILED
    assert node_state(unscheduled("no room"), was_ready=True, now=NOW).reason is ClusterReason.UNSCHEDULABLE


def test_since_is_when_it_became_so() -> None:
    assert node_state(pod(made=5), was_ready=False, now=NOW).since == START + timedelta(seconds=25)
    assert node_state(ending(pod(), seconds=500), was_ready=False, now=NOW).since == START + timedelta(seconds=500)
