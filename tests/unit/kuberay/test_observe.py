"""What is told of a cluster: one row for each fact about KubeRay that a client has to know."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from matrix_crds.cluster import AllocationKind, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.names import ASKED_ANNOTATION, Object
from matrix_operator.backends.kuberay.observe import observation, wants_asking
from matrix_operator.backends.kuberay.sight import Sight
from matrix_operator.backends.kuberay.template import template_hash
from matrix_operator.backends.port import NodePhase, NodeState, Observation
from matrix_operator.looks import Absent, Present
from tests.unit.kuberay.builders import NOW, START, UID, after, cluster, condition, ending, event, live, pod

WORKERS = {"workerGroups": [{"name": "w", "replicas": 2}]}
PROVISIONED = condition("RayClusterProvisioned", reason="AllPodRunningAndReadyFirstTime")
READY = {"state": "ready", "desiredWorkerReplicas": 2, "readyWorkerReplicas": 2, "conditions": [PROVISIONED, condition("HeadPodReady")]}
NOTHING: Object = {}


def seen(
    found: Object | None, *pods: Object, events: tuple[Object, ...] = (), of: MatrixCluster | None = None, now: datetime = NOW
) -> Observation:
    answer = observation(of or cluster(WORKERS), Sight(found, pods, events), now)
    assert isinstance(answer, Present)
    return answer.state


def head(found: Object, *pods: Object, **fields: Any) -> NodeState:
    return seen(found, *pods, **fields).head


def worker(found: Object, *pods: Object, **fields: Any) -> NodeState:
    """The one that is told of first."""
    return seen(found, pod(), *pods, **fields).workers[0]


def workers(**status: Any) -> Object:
    return live(cluster(WORKERS), status=READY | status)


# --- there or not ---


def test_nothing_is_absent() -> None:
    assert observation(cluster(), Sight(None), NOW) == Absent()


def test_a_raycluster_of_somebody_else_is_none_of_ours() -> None:
    for labels in ({}, {"matrix.dev/uid": "old"}):
        found = live(cluster())
        foreign = found | {"metadata": found["metadata"] | {"labels": labels}}
        assert observation(cluster(), Sight(foreign), NOW) == Absent()


def test_it_is_not_absent_while_pods_of_it_linger() -> None:
    state = head(None, ending(pod()))
    assert state.phase is NodePhase.RECOVERING
    assert state.message == "its RayCluster is gone; waiting for its pods to end (lab-head-x)"


def test_what_was_applied_is_told() -> None:
    allocation = seen(workers(), pod()).allocation
    assert (allocation.kind, allocation.name, allocation.attempt) == (AllocationKind.RAY_CLUSTER, "lab", 1)
    assert allocation.template_hash == template_hash(cluster(WORKERS).spec)
    assert allocation.started_at == START


@pytest.mark.parametrize(
    ("before", "groups", "wanted"),
    [
        (2, [{"name": "w", "replicas": 5}], 5),
        (2, [], 0),
        (2, [{"name": "w", "replicas": 2}, {"name": "new", "replicas": 3}], 2),
        (2, [{"name": "other", "replicas": 3}], 2),
        (7, [{"name": "w", "autoscale": {"min": 0, "max": 16}}], 7),
        (7, [{"name": "w", "autoscale": {"min": 9, "max": 16}}], 9),
    ],
    ids=["scaled", "taken out", "another held back", "another name held back", "autoscaled", "autoscaled with more"],
)
def test_so_many_workers_are_wanted_before_the_ray_cluster_says_so(before: int, groups: list[dict[str, Any]], wanted: int) -> None:
    """Else a cluster that was just scaled would be Ready already."""
    scales = "autoscale" in (groups or [{}])[0]
    former = {"name": "w", "autoscale": {"min": 0, "max": 16}} if scales else {"name": "w", "replicas": before}
    found = live(cluster({"workerGroups": [former]}), status=READY)
    found["spec"]["workerGroupSpecs"][0]["replicas"] = before  # of an autoscaled group: Ray's autoscaler
    assert seen(found, pod(), of=cluster({"workerGroups": groups})).wanted_workers == wanted


# --- what the status says wrongly, or not at all ---


def test_an_absent_status_is_no_fault() -> None:
    for status in (None, {}, {"head": {}}):
        assert head(live(cluster(), status=status), pod(), of=cluster()).phase is NodePhase.RUNNING


def test_absent_counts_are_zero() -> None:
    found = live(cluster(WORKERS), status=READY)
    group = found["spec"]["workerGroupSpecs"][0]
    for field in ("replicas", "minReplicas"):
        group.pop(field)
    assert seen(found, pod()).workers == ()


def test_a_state_of_ready_makes_nothing_ready() -> None:
    assert head(workers(), pod(ready=False)).phase is NodePhase.RECOVERING
    assert head(workers()).phase is NodePhase.RECOVERING


def test_an_older_kuberay_without_conditions_is_understood() -> None:
    old = live(cluster(), status={"state": "ready"})
    assert head(old, pod(), of=cluster()).phase is NodePhase.RUNNING
    assert head(old, pod(ready=False), of=cluster()).phase is NodePhase.RECOVERING
    assert head(live(cluster(), status={}), pod(ready=False), of=cluster()).phase is NodePhase.STARTING


def test_a_count_of_ready_workers_makes_none_ready() -> None:
    state = worker(workers(), pod("w-a", group="w"), pod("w-b", group="w", ready=False))
    assert (state.name, state.phase) == ("w-b", NodePhase.RECOVERING)


def test_a_worker_that_holds_to_a_former_head_is_not_running_whatever_is_counted() -> None:
    """Seen 43 s after the head's pod was replaced: HeadPodReady True, readyWorkerReplicas 1, and only the head in `ray status`."""
    pods = (pod(made=300), pod("w-a", group="w", made=1), pod("w-b", group="w", made=1, started=350))
    soon = seen(workers(), *pods, now=START + timedelta(seconds=343))
    assert [(state.name, state.phase) for state in soon.workers] == [("w-a", NodePhase.RECOVERING), ("w-b", NodePhase.RUNNING)]
    assert "former head" in soon.workers[0].message
    pods[2]["status"]["containerStatuses"].append({"name": "sidecar", "state": {"running": {"startedAt": after(1)}}})
    assert seen(workers(), *pods, now=START + timedelta(seconds=343)).workers == soon.workers
    late = seen(workers(), *pods, now=START + timedelta(seconds=421))
    assert {state.phase for state in late.workers} == {NodePhase.RUNNING}


def test_a_head_that_was_restarted_in_place_keeps_its_workers() -> None:
    """The tables of the GCS are on a volume of the pod: workers and replicas go on."""
    status = {
        "name": "ray",
        "restartCount": 1,
        "state": {"running": {"startedAt": after(300)}},
        "lastState": {"terminated": {"exitCode": 1}},
    }
    observed = seen(workers(), pod(containerStatuses=[status]), pod("w-a", group="w"), now=START + timedelta(seconds=330))
    assert observed.head.phase is NodePhase.RUNNING
    assert ("w-a", NodePhase.RUNNING) in [(state.name, state.phase) for state in observed.workers]


def test_a_new_pod_of_the_head_says_what_is_lost() -> None:
    state = head(workers(), pod("lab-head-y", made=300, ready=False), ending(pod()))
    assert (state.name, state.phase) == ("lab-head-y", NodePhase.RECOVERING)
    assert "the models start again" in state.message
    assert "the models start again" not in head(workers(), pod(ready=False)).message
    silent = [condition("ContainersReady", "True"), condition("Ready", "False")]
    state = head(workers(), pod("lab-head-y", made=300, conditions=silent))
    assert state.reason is ClusterReason.NODE_LOST
    assert "the models start again" not in state.message


def condition_of(item: Object, type_: str, seconds: float) -> Object:
    """The pod with that condition changed at that time."""
    found = [entry for entry in item["status"]["conditions"] if entry["type"] != type_]
    status = "True" if type_ == "Initialized" else "False"
    changed = condition(type_, status, "" if status == "True" else "ContainersNotReady", seconds=seconds)
    return item | {"status": item["status"] | {"conditions": [*found, changed]}}


def test_a_new_head_that_was_up_says_nothing_more_of_a_loss() -> None:
    """Its container was started again, or it does not answer: the tables of its GCS are in its own volume."""
    new = condition_of(pod("lab-head-y", made=300, ready=False), "Initialized", 302)
    assert "the models start again" in head(workers(), condition_of(new, "Ready", 302)).message
    assert "the models start again" not in head(workers(), condition_of(new, "Ready", 500)).message


def test_a_state_that_is_kept_elsewhere_is_not_lost() -> None:
    new = pod("lab-head-y", made=300, ready=False)
    with_database = workers()
    with_database["spec"]["gcsFaultToleranceOptions"] = {"redisAddress": "redis:6379"}
    with_volume = workers()
    volumes = with_volume["spec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    next(volume for volume in volumes if volume.get("name") == "matrix-gcs")["persistentVolumeClaim"] = {"claimName": "gcs"}
    next(volume for volume in volumes if volume.get("name") == "matrix-gcs").pop("emptyDir")
    for found in (with_database, with_volume):
        assert head(found, new).phase is NodePhase.RECOVERING
        assert "the models start again" not in head(found, new).message


def test_a_head_with_little_cpu_says_that_it_may_be_slow() -> None:
    small = cluster({"head": {"resources": {"cpu": "500m"}}})
    found = live(small, status={})
    starting = head(found, pod(ready=False), of=small)
    assert "with 500m of a CPU it may need several starts" in starting.message
    waits = pod(ready=False, containerStatuses=[{"name": "ray-head", "state": {"waiting": {"reason": "ContainerCreating"}}}])
    assert "500m" not in head(found, waits, of=small).message
    assert "500m" not in head(found, pod(), of=small).message
    assert "of a CPU" not in head(live(cluster(), status={}), pod(ready=False), of=cluster()).message


# --- a head without a pod ---

HEADS: list[tuple[str, Object, NodePhase, ClusterReason | None, str]] = [
    ("not made yet", NOTHING, NodePhase.STARTING, None, "KubeRay has not made its pod yet"),
    ("not found", condition("HeadPodReady", "False", "HeadPodNotFound"), NodePhase.STARTING, None, "has not made its pod yet"),
    ("just made", condition("HeadPodReady", "False", "Unknown"), NodePhase.STARTING, None, "just made"),
    ("being made", condition("HeadPodReady", "False", "ContainerCreating"), NodePhase.STARTING, None, "being made"),
    ("not ready", condition("HeadPodReady", "False", "ContainersNotReady"), NodePhase.STARTING, None, "not ready"),
    ("failed", condition("HeadPodReady", "False", "PodFailed"), NodePhase.RECOVERING, ClusterReason.RECOVERING, "KubeRay makes another"),
    ("ended", condition("HeadPodReady", "False", "Error"), NodePhase.RECOVERING, ClusterReason.RECOVERING, "started again"),
    (
        "memory",
        condition("HeadPodReady", "False", "OOMKilled"),
        NodePhase.RECOVERING,
        ClusterReason.OUT_OF_MEMORY,
        "spec.head.resources.memory",
    ),
    (
        "image",
        condition("HeadPodReady", "False", "ErrImageNeverPull", "ray-head: not present"),
        NodePhase.FAILED,
        ClusterReason.IMAGE_PULL_FAILED,
        "not present",
    ),
    (
        "Secret",
        condition("HeadPodReady", "False", "CreateContainerConfigError", 'ray-head: secret "nosuch" not found'),
        NodePhase.FAILED,
        ClusterReason.SECRET_MISSING,
        'secret "nosuch" not found; make it',
    ),
    ("said to be ready", condition("HeadPodReady", "True", "HeadPodRunningAndReady"), NodePhase.STARTING, None, "not to be seen"),
    ("unknown to us", condition("HeadPodReady", "False", "Novel", "words"), NodePhase.STARTING, None, "Novel: words"),
]


@pytest.mark.parametrize(("entry", "phase", "reason", "words"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_a_head_without_a_pod_in_kuberays_words(entry: Object, phase: NodePhase, reason: ClusterReason | None, words: str) -> None:
    found = live(cluster(), status={"observedGeneration": 2, "conditions": [entry] if entry else []})
    state = head(found, of=cluster())
    assert (state.name, state.phase, state.reason) == ("head", phase, reason)
    assert words in state.message


# --- workers without pods ---


def failing(message: str) -> Object:
    return workers(conditions=[condition("ReplicaFailure", "True", "FailedCreateWorkerPod", message)])


QUOTA = 'FailedCreateWorkerPod\npods "lab-w-worker-{}" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=2, limited: cpu=2'


def test_a_quota_that_refuses_pods_is_told_without_what_changes_at_each_try() -> None:
    first, second = (worker(failing(QUOTA.format(tail))) for tail in ("abcde", "fghij"))
    assert first == second
    assert (first.phase, first.reason) == (NodePhase.STARTING, ClusterReason.INSUFFICIENT_RESOURCES)
    assert first.message.startswith("2 of 2 pods: a quota refuses them (exceeded quota: small, requested: cpu=1, ")
    assert "larger quota" in first.message


def test_pods_that_can_not_be_made_for_another_reason_are_told_too() -> None:
    state = worker(failing('pods "lab-w-worker-abcde" is forbidden: violates PodSecurity "restricted:latest"'))
    assert state.reason is ClusterReason.START_FAILED
    assert 'violates PodSecurity "restricted:latest"' in state.message


def test_a_head_that_a_quota_refuses_is_told_of_the_head() -> None:
    state = head(failing(QUOTA.format("abcde")))
    assert state.reason is ClusterReason.INSUFFICIENT_RESOURCES


def test_pods_that_are_there_are_not_blamed_for_those_that_are_not() -> None:
    states = seen(failing(QUOTA.format("x")), pod(), pod("w-a", group="w")).workers
    assert [(state.name, state.phase) for state in states] == [("w", NodePhase.STARTING), ("w-a", NodePhase.RUNNING)]
    assert "1 of 2 pods" in states[0].message


def test_a_pod_that_is_being_deleted_is_told_until_another_takes_its_place() -> None:
    old = ending(pod("w-b", group="w"))
    states = seen(workers(), pod(), pod("w-a", group="w"), old).workers
    assert [(state.name, state.phase) for state in states] == [("w-b", NodePhase.RECOVERING), ("w-a", NodePhase.RUNNING)]
    assert states[0].message == "the pod is being deleted; KubeRay makes another pod when it is gone"
    states = seen(workers(), pod(), pod("w-a", group="w"), pod("w-c", group="w"), old).workers
    assert [state.name for state in states] == ["w-a", "w-c"]


def test_an_unschedulable_worker_shows_in_its_pod_alone() -> None:
    pending = pod("w-b", group="w", conditions=[condition("PodScheduled", "False", "Unschedulable", "0/1 nodes are available")])
    state = worker(workers(), pod("w-a", group="w"), pending)
    assert (state.name, state.reason) == ("w-b", ClusterReason.UNSCHEDULABLE)


def test_a_wish_that_is_clamped_is_told() -> None:
    spec = {"workerGroups": [{"name": "w", "autoscale": {"max": 1}}]}
    found = live(cluster(spec), status=READY)
    found["spec"]["workerGroupSpecs"][0]["replicas"] = 3
    state = worker(found, pod("w-a", group="w"), of=cluster(spec))
    assert (state.name, state.reason) == ("w", ClusterReason.WORKERS_NOT_READY)
    assert state.message == "3 workers are wished for, but maxReplicas of the RayCluster holds them at 1; raise the group's autoscale.max"


def test_min_replicas_count_where_replicas_stay_behind() -> None:
    """After minReplicas went from 0 to 1 KubeRay makes a pod; spec.replicas stays 0."""
    found = live(cluster({"workerGroups": [{"name": "w", "autoscale": {"min": 1, "max": 4}}]}), status=READY)
    found["spec"]["workerGroupSpecs"][0]["replicas"] = 0
    assert worker(found).message == "KubeRay has not made 1 of 1 pods yet"


# --- refused ---


def test_a_new_raycluster_that_kuberay_refuses_shows_in_an_event_alone() -> None:
    state = head(live(cluster(WORKERS)), events=(event(),))
    assert (state.phase, state.reason) == (NodePhase.FAILED, ClusterReason.INVALID_SPEC)
    assert (
        state.message == "KubeRay refuses the RayCluster: worker group w has minReplicas 9 greater than maxReplicas 3; change the manifest"
    )


def test_so_does_a_name_that_it_refuses() -> None:
    words = "The RayCluster metadata is invalid team/lab: RayCluster name should be no more than 53 characters"
    assert "no more than 53" in head(live(cluster()), events=(event("InvalidRayClusterMetadata", message=words),)).message


def test_the_newer_form_of_events_is_read_too() -> None:
    newer = event() | {"regarding": {"uid": "ray-1"}, "note": "The RayCluster spec is invalid team/lab: no", "eventTime": after(1)}
    for field in ("involvedObject", "message", "lastTimestamp"):
        del newer[field]
    assert "refuses the RayCluster: no;" in head(live(cluster()), events=(newer,)).message


@pytest.mark.parametrize(
    "harmless",
    [
        event(seconds=-5),
        event(involvedObject={"uid": "of a former RayCluster"}),
        event("CreatedHeadPod"),
        event(message="RayCluster spec warning team/lab: restartPolicy for worker groups [w] should be Never"),
    ],
    ids=["before the spec was written", "about another", "of another kind", "a warning"],
)
def test_not_every_event_is_a_refusal(harmless: Object) -> None:
    assert head(live(cluster()), events=(harmless,), now=START).reason is not ClusterReason.INVALID_SPEC


def test_an_event_that_is_repeated_counts_from_its_last_time() -> None:
    again = event(seconds=-5) | {"series": {"count": 3, "lastObservedTime": after(5)}}
    assert head(live(cluster()), events=(again,)).reason is ClusterReason.INVALID_SPEC


def test_generations_that_differ_mean_nothing_and_equal_ones_that_it_was_taken() -> None:
    behind = live(cluster(), status={"observedGeneration": 1})
    assert head(behind, pod(), of=cluster()).phase is NodePhase.RUNNING
    taken = live(cluster(), status={"observedGeneration": 2})
    assert head(taken, events=(event(),)).reason is not ClusterReason.INVALID_SPEC


def test_running_pods_are_not_failed_by_a_change_that_is_refused() -> None:
    assert head(workers(), pod(), events=(event(),)).phase is NodePhase.RUNNING


# --- KubeRay itself ---


def test_a_kuberay_that_gives_no_sign_is_told_after_a_while() -> None:
    found = live(cluster())
    assert head(found, now=START + timedelta(seconds=5)).reason is None
    state = head(found)
    assert (state.phase, state.reason) == (NodePhase.STARTING, ClusterReason.KUBERAY_SILENT)
    assert "kubectl describe raycluster lab -n team" in state.message


def test_a_kuberay_whose_crds_do_not_know_tokens_is_too_old() -> None:
    found = workers()
    del found["spec"]["authOptions"]
    state = head(found, pod())
    assert (state.phase, state.reason) == (NodePhase.FAILED, ClusterReason.KUBERAY_SILENT)
    assert "update KubeRay" in state.message


def test_a_raycluster_that_is_deleted_behind_our_back_is_made_again() -> None:
    state = head(ending(workers()), pod())
    assert (state.phase, state.reason) == (NodePhase.RECOVERING, ClusterReason.RECOVERING)


# --- suspended ---

STOPPED = cluster(WORKERS | {"suspend": True})


def test_a_suspended_cluster_is_told_with_what_still_ends() -> None:
    found = live(STOPPED, status={"state": "suspended", "conditions": [condition("RayClusterSuspended")]})
    done = seen(found, of=STOPPED)
    assert (done.head.phase, done.head.reason, done.workers) == (NodePhase.FAILED, ClusterReason.SUSPENDED, ())
    assert "set spec.suspend to false" in done.head.message
    assert "its pods are being ended (lab-head-x)" in seen(found, ending(pod()), of=STOPPED).head.message


def test_a_state_of_suspended_stays_while_it_starts_again_and_does_not_count() -> None:
    found = live(cluster(WORKERS), status={"state": "suspended", "conditions": [condition("RayClusterProvisioned", "False")]})
    assert head(found, pod(ready=False)).phase is NodePhase.STARTING
    assert head(found, pod()).phase is NodePhase.RUNNING


def test_suspending_can_not_be_broken_off() -> None:
    found = live(cluster(WORKERS), status={"conditions": [condition("RayClusterSuspending")]})
    assert "can't be broken off" in head(found, ending(pod())).message


def test_between_two_writes_a_suspended_cluster_is_about_to_start() -> None:
    found = live(STOPPED, status={"state": "suspended"})
    assert head(found).message == "it is about to be started again"


def test_what_kueue_has_not_admitted_waits_in_its_queue() -> None:
    of = cluster({"backend": {"kubernetes": {"queueName": "research"}}})
    state = head(live(of, suspend=True), of=of)
    assert (state.phase, state.reason) == (NodePhase.STARTING, ClusterReason.QUEUED)
    assert "research has not admitted" in state.message
    assert head(live(of, suspend=False), pod(), of=of).phase is NodePhase.RUNNING


def test_the_uid_tells_ours() -> None:
    assert live(cluster())["metadata"]["labels"]["matrix.dev/uid"] == UID


def test_a_kuberay_that_gives_no_sign_is_asked_now_and_then() -> None:
    """It says once why it refuses a spec, and the API server forgets that after an hour."""
    found = live(cluster())
    event = refusal(found)
    assert not wants_asking(Sight(found, (), (event,)), NOW)
    assert wants_asking(Sight(found), NOW)
    assert not wants_asking(Sight(found, (pod(),)), NOW)
    assert not wants_asking(Sight(None), NOW)
    found["metadata"]["annotations"][ASKED_ANNOTATION] = NOW.isoformat()
    assert not wants_asking(Sight(found), NOW + timedelta(minutes=1))
    assert wants_asking(Sight(found), NOW + timedelta(minutes=6))


def refusal(of: Object) -> Object:
    about = {"kind": "RayCluster", "uid": of["metadata"]["uid"]}
    metadata = {"name": "e", "uid": "e", "creationTimestamp": after(5)}
    return {"metadata": metadata, "involvedObject": about, "reason": "InvalidRayClusterSpec", "message": "no", "lastTimestamp": after(5)}
