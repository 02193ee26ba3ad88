"""What KubeRay does that a client must know: the same for the real one (`--kuberay=existing`) and for its stand-in.

docs/kuberay.md names the test of each fact, and how the backend handles it.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.e2e.kubernetes.kuberay.ray_clusters import LONG, RayClusters, names, uid
from tests.lab.kuberay.client import Object

BUILT_IN = {"client": "10001", "dashboard": "8265", "gcs-server": "6379", "metrics": "8080", "serve": "8000"}


# --- what is made ---


def test_a_cluster_gets_a_headless_service_and_pods_that_it_owns(rays: RayClusters) -> None:
    made = rays.make("c", rays.group(1))
    rays.ready("c", 1)
    service = rays.api.get(rays.core("services", "c-head-svc"))
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert {port["name"]: str(port["port"]) for port in service["spec"]["ports"]} == BUILT_IN
    assert service["metadata"]["labels"]["ray.io/node-type"] == "head"
    for owned in (service, *rays.pods("c")):
        (owner,) = owned["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("RayCluster", uid(made), True)
    assert "finalizers" not in rays.get("c")["metadata"]


def test_pods_are_found_by_their_labels(rays: RayClusters) -> None:
    rays.make("c", rays.group(1, "cpu"))
    rays.ready("c", 1)
    (head,), (worker,) = rays.pods("c", "head"), rays.pods("c", "worker")
    assert head["metadata"]["name"].startswith("c-head-")
    assert worker["metadata"]["name"].startswith("c-cpu-worker-")
    assert head["metadata"]["labels"]["ray.io/group"] == "headgroup"
    assert worker["metadata"]["labels"]["ray.io/group"] == "cpu"
    assert [pod["metadata"]["labels"]["ray.io/is-ray-node"] for pod in (head, worker)] == ["yes", "yes"]


def test_a_worker_waits_for_its_head_in_an_init_container_of_the_same_image(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    (worker,) = rays.pods("c", "worker")
    waits = worker["spec"]["initContainers"][-1]
    assert (waits["name"], waits["image"]) == ("wait-gcs-ready", rays.image)


# --- the status ---


def test_the_state_is_absent_until_all_was_ready_once(rays: RayClusters) -> None:
    rays.pace(creating=LONG)
    rays.make("c", rays.group(1))
    first = rays.until(lambda: rays.status("c"), "a status is there")
    assert "state" not in first
    conditions = {entry["type"]: (entry["status"], entry["reason"]) for entry in first["conditions"]}
    assert conditions["RayClusterProvisioned"] == ("False", "RayClusterPodsProvisioning")
    assert {conditions[type_][0] for type_ in ("HeadPodReady", "RayClusterSuspending", "RayClusterSuspended")} == {"False"}
    assert "ReplicaFailure" not in conditions
    assert first["endpoints"] == BUILT_IN  # no sign of readiness
    rays.pace(creating=0.0)
    rays.ready("c", 1)
    assert rays.condition("c", "RayClusterProvisioned")["reason"] == "AllPodRunningAndReadyFirstTime"
    assert rays.condition("c", "HeadPodReady")["reason"] == "HeadPodRunningAndReady"


def test_a_count_of_zero_is_left_out(rays: RayClusters) -> None:
    rays.make("c", rays.group(0))
    status = rays.ready("c")
    counts = ("desiredWorkerReplicas", "availableWorkerReplicas", "readyWorkerReplicas", "minWorkerReplicas")
    assert [name for name in counts if name in status] == []
    assert "reason" not in status


def test_the_address_of_the_head_service_is_the_heads(rays: RayClusters) -> None:
    rays.make("c")
    found = rays.ready("c")["head"]
    pod = rays.head("c")
    assert found == {
        "podName": pod["metadata"]["name"],
        "podIP": pod["status"]["podIP"],
        "serviceIP": pod["status"]["podIP"],
        "serviceName": "c-head-svc",
    }


def test_replicas_beyond_the_limits_are_clamped_without_a_word(rays: RayClusters) -> None:
    rays.make("c", rays.group(4, most=1))
    assert rays.ready("c", 1)["desiredWorkerReplicas"] == 1
    assert rays.get("c")["spec"]["workerGroupSpecs"][0]["replicas"] == 4


def test_a_change_of_the_template_alone_changes_neither_pods_nor_status(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    before, pods = rays.ready("c", 1), {uid(pod) for pod in rays.pods("c")}
    value = [{"name": "NEW", "value": "1"}]
    changed = rays.patch("c", {"op": "add", "path": "/spec/headGroupSpec/template/spec/containers/0/env", "value": value})
    rays.stays(lambda: {uid(pod) for pod in rays.pods("c")} == pods, "the pods are the same")
    assert rays.status("c")["observedGeneration"] == before["observedGeneration"] < changed["metadata"]["generation"]


def test_the_generation_is_observed_together_with_another_change(rays: RayClusters) -> None:
    rays.make("c", rays.group(0))
    rays.ready("c")
    rays.scale("c", 1)
    assert rays.ready("c", 1)["observedGeneration"] == rays.get("c")["metadata"]["generation"]


def test_pods_that_end_are_counted_as_running_and_no_other_is_made_before_they_are_gone(rays: RayClusters) -> None:
    rays.make("c", _slow_to_end(rays, 1))
    rays.ready("c", 1)
    (worker,) = rays.pods("c", "worker")
    rays.api.delete(rays.core("pods", worker["metadata"]["name"]))
    (ending,) = rays.pods("c", "worker")
    assert "deletionTimestamp" in ending["metadata"]
    assert rays.status("c")["availableWorkerReplicas"] == 1
    _end_at_last(rays, {worker["metadata"]["name"]})
    another = rays.until(lambda: names(rays.pods("c", "worker")) - names([worker]), "there is another worker")
    assert len(another) == 1
    assert names(rays.pods("c", "worker")) == another  # the former had gone before


def _slow_to_end(rays: RayClusters, replicas: int) -> Object:
    """A group whose pods take seconds to end."""
    rays.pace(ending=LONG)
    group = rays.group(replicas)
    group["template"]["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 5}}}
    return group


def _end_at_last(rays: RayClusters, workers: set[str]) -> None:
    """These are all that there are, until those of them that end may be gone."""
    if rays.standin:
        rays.stays(lambda: names(rays.pods("c", "worker")) == workers, "no other is made")
    rays.pace(ending=0.0)


# --- pods that go ---


def test_a_worker_that_is_deleted_is_made_anew_and_the_state_stays_ready(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    (worker,) = rays.pods("c", "worker")
    rays.api.delete(rays.core("pods", worker["metadata"]["name"]))
    rays.until(lambda: names(rays.pods("c", "worker")).isdisjoint(names([worker])), "the former worker is gone")
    rays.ready("c", 1)


def test_a_head_that_is_deleted_comes_back_with_another_name_and_address_and_the_state_says_ready_throughout(rays: RayClusters) -> None:
    rays.make("c")
    before = rays.ready("c")
    rays.pace(readying=LONG)
    rays.api.delete(rays.core("pods", before["head"]["podName"]))
    rays.until(lambda: rays.condition("c", "HeadPodReady")["status"] == "False", "HeadPodReady is False")
    assert rays.status("c")["state"] == "ready"
    assert rays.condition("c", "RayClusterProvisioned")["status"] == "True"

    def another() -> Object | None:
        head: Object = rays.status("c")["head"]
        return head if head.get("podName") not in (None, before["head"]["podName"]) and head.get("podIP") else None

    head = rays.until(another, "there is another head")
    assert head["podIP"] != before["head"]["podIP"]
    rays.pace(readying=0.0)
    rays.ready("c")


@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_a_pod_that_kubernetes_gave_up_is_deleted_and_made_anew(rays: RayClusters, node_type: str) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    (pod,) = rays.pods("c", node_type)
    rays.pod_status(pod, {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
    rays.until(lambda: names(rays.pods("c", node_type)).isdisjoint(names([pod])), "the former pod is gone")
    rays.ready("c", 1)


# --- scaling ---


def test_scaling_up_leaves_the_others_alone(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    before = names(rays.pods("c"))
    rays.scale("c", 2)
    rays.ready("c", 2)
    assert before < names(rays.pods("c"))


def test_scaling_down_without_names_takes_one(rays: RayClusters) -> None:
    rays.make("c", rays.group(2))
    rays.ready("c", 2)
    before = names(rays.pods("c", "worker"))
    rays.scale("c", 1)
    rays.ready("c", 1)
    assert names(rays.pods("c", "worker")) < before


def test_named_victims_go_and_the_list_stays_in_the_spec(rays: RayClusters) -> None:
    rays.make("c", rays.group(3))
    rays.ready("c", 3)
    before = names(rays.pods("c", "worker"))
    victim = sorted(before)[1]
    rays.scale("c", 2, [victim])
    rays.ready("c", 2)
    assert names(rays.pods("c", "worker")) == before - {victim}
    rays.stays(lambda: len(rays.pods("c", "worker")) == 2, "no other is taken")
    assert rays.get("c")["spec"]["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": [victim]}


def test_a_group_is_left_alone_while_a_pod_that_kuberay_has_deleted_ends(rays: RayClusters) -> None:
    rays.make("c", _slow_to_end(rays, 2))
    rays.ready("c", 2)
    before = names(rays.pods("c", "worker"))
    victim = min(before)
    rays.scale("c", 1, [victim])
    rays.until(lambda: any("deletionTimestamp" in pod["metadata"] for pod in rays.pods("c", "worker")), "the victim ends")
    rays.scale("c", 2, [])
    _end_at_last(rays, before)
    rays.until(lambda: names(rays.pods("c", "worker")) - before, "there is another worker")
    assert victim not in names(rays.pods("c", "worker"))  # it had gone before
    rays.ready("c", 2)


def test_a_pod_that_somebody_else_has_deleted_costs_no_other_when_it_is_named(rays: RayClusters) -> None:
    rays.make("c", _slow_to_end(rays, 2))
    rays.ready("c", 2)
    leaves, stays = sorted(names(rays.pods("c", "worker")))
    rays.api.delete(rays.core("pods", leaves))
    rays.scale("c", 1, [leaves])
    _end_at_last(rays, {leaves, stays})
    rays.until(lambda: leaves not in names(rays.pods("c", "worker")), "what was deleted is gone")
    rays.ready("c", 1)
    assert names(rays.pods("c", "worker")) == {stays}


def test_an_unschedulable_worker_shows_in_the_counts_and_on_its_pod_alone(rays: RayClusters) -> None:
    big = rays.group(1, "big")
    big["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "900000"}, "limits": {"cpu": "900000"}}
    rays.make("c", rays.group(1), big)

    def look() -> list[str]:
        conditions = [entry for pod in rays.pods("c", "worker") for entry in pod["status"].get("conditions", ())]
        return [entry["reason"] for entry in conditions if entry["type"] == "PodScheduled" and entry["status"] == "False"]

    assert rays.until(look, "the scheduler finds no machine") == ["Unschedulable"]
    rays.until(lambda: rays.status("c").get("readyWorkerReplicas") == 1, "the other is ready")
    status = rays.status("c")
    assert (status["desiredWorkerReplicas"], status.get("state")) == (2, None)
    assert "ReplicaFailure" not in {entry["type"] for entry in status["conditions"]}


# --- suspending ---


def test_suspending_ends_the_pods_and_resuming_says_suspended_until_all_is_ready(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    rays.merge("c", {"suspend": True})
    rays.until(lambda: rays.status("c")["state"] == "suspended", "it is suspended")
    assert rays.pods("c") == []
    assert rays.condition("c", "RayClusterSuspended")["status"] == "True"
    assert rays.condition("c", "RayClusterProvisioned")["message"] == "RayCluster has been suspended"
    assert rays.api.exists(rays.core("services", "c-head-svc"))
    rays.pace(creating=LONG)
    rays.merge("c", {"suspend": False})
    rays.until(lambda: rays.pods("c"), "pods are made")
    rays.until(lambda: rays.condition("c", "RayClusterSuspended")["status"] == "False", "it is not suspended any more")
    assert rays.status("c")["state"] == "suspended"
    rays.pace(creating=0.0)
    rays.ready("c", 1)


# --- refusals ---


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"minReplicas": 9, "maxReplicas": 3}, "worker group w has minReplicas 9 greater than maxReplicas 3"),
        ({"template": {"spec": {"containers": []}}}, "workerGroupSpec should have at least one container"),
        ({"idleTimeoutSeconds": 60}, "worker group w: idleTimeoutSeconds is set, but autoscaler v2 is not enabled"),
    ],
    ids=["limits", "containers", "idle time"],
)
def test_a_wrong_spec_is_taken_and_refused_by_an_event_alone(rays: RayClusters, wrong: Object, said: str) -> None:
    made = rays.make("c", {**rays.group(1), **wrong})
    (event,) = rays.until(lambda: _refusals(rays, "c"), "an event tells")[:1]
    assert said in event["message"]
    assert event["message"].startswith(f"The RayCluster spec is invalid {rays.namespace}/c: ")
    assert (event["type"], event["involvedObject"]["uid"]) == ("Warning", uid(made))
    rays.stays(lambda: rays.status("c") == {} and rays.pods("c") == [], "nothing else happens")


def test_a_token_for_an_old_ray_is_refused(rays: RayClusters) -> None:
    rays.make("c", rayVersion="2.51.0", authOptions={"mode": "token", "secretName": "s"})
    (event,) = rays.until(lambda: _refusals(rays, "c"), "an event tells")[:1]
    assert "minimum Ray version is 2.52.0" in event["message"]


def test_a_change_that_is_refused_freezes_the_status_and_leaves_the_pods(rays: RayClusters) -> None:
    rays.make("c", rays.group(1))
    before, pods = rays.ready("c", 1), names(rays.pods("c"))
    rays.patch("c", {"op": "replace", "path": "/spec/workerGroupSpecs/0/minReplicas", "value": 9})
    rays.until(lambda: _refusals(rays, "c"), "an event tells")
    rays.stays(lambda: names(rays.pods("c")) == pods, "the pods stay")
    assert rays.status("c") == before


def _refusals(rays: RayClusters, name: str) -> list[Object]:
    return [event for event in rays.events(name) if event["reason"] == "InvalidRayClusterSpec"]


def test_a_quota_shows_as_replica_failure_until_it_fits(rays: RayClusters) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    rays.api.create(rays.core("resourcequotas"), quota)
    rays.until(lambda: rays.api.get(rays.core("resourcequotas", "q")).get("status", {}).get("hard"), "the quota counts")
    rays.make("c", rays.group(1))
    # Until the API server's admission has counted for itself, it refuses the head as well, in other words.
    failure = rays.until(lambda: _fails(rays, "FailedCreateWorkerPod"), "ReplicaFailure is there")
    assert failure["status"] == "True"
    assert "exceeded quota: q" in failure["message"]
    events = rays.until(lambda: [event for event in rays.events("c") if event["reason"] == "FailedToCreateWorkerPod"], "an event tells")
    assert "exceeded quota" in events[0]["message"]
    rays.api.delete(rays.core("resourcequotas", "q"))
    rays.ready("c", 1)
    assert rays.condition("c", "ReplicaFailure") == {}


def _fails(rays: RayClusters, reason: str) -> Object | None:
    found = rays.condition("c", "ReplicaFailure")
    return found if found.get("reason") == reason else None


# --- pods that do not start ---


def test_a_missing_image_is_told_in_the_kubelets_words(rays: RayClusters) -> None:
    missing = "localhost/missing:1"
    if rays.standin:
        rays.standin.set(rays.standin.ailments, missing_images={missing})
    container = {"name": "ray-head", "image": missing, "imagePullPolicy": "IfNotPresent"}
    rays.make("c", headGroupSpec={"rayStartParams": {}, "template": {"spec": {"containers": [container]}}})
    found = rays.until(lambda: _head_says(rays, "ErrImagePull", "ImagePullBackOff"), "HeadPodReady tells")
    assert missing in found["message"]
    assert "state" not in rays.status("c")


def test_a_missing_secret_is_told_and_heals(rays: RayClusters) -> None:
    rays.make("c", authOptions={"mode": "token", "secretName": "nosuch"})
    found = rays.until(lambda: _head_says(rays, "CreateContainerConfigError"), "HeadPodReady tells")
    assert 'secret "nosuch" not found' in found["message"]
    rays.api.create(rays.core("secrets"), _secret("nosuch"))
    rays.ready("c")


def _head_says(rays: RayClusters, *reasons: str) -> Object | None:
    found = rays.condition("c", "HeadPodReady")
    return found if found.get("reason") in reasons else None


def _secret(name: str) -> Object:
    data = {"auth_token": base64.b64encode(b"t" * 32).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


# --- tokens ---


def test_a_token_of_our_own_is_put_into_the_environment_of_every_container_and_gets_no_owner(rays: RayClusters) -> None:
    rays.api.create(rays.core("secrets"), _secret("ours"))
    rays.make("c", rays.group(1), authOptions={"mode": "token", "secretName": "ours"})
    rays.ready("c", 1)
    (worker,) = rays.pods("c", "worker")
    for container in (rays.head("c")["spec"]["containers"][0], *worker["spec"]["containers"], *worker["spec"]["initContainers"]):
        environment = {variable["name"]: variable for variable in container["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "ours", "key": "auth_token"}
    assert "ownerReferences" not in rays.api.get(rays.core("secrets", "ours"))["metadata"]


# --- the end ---


def test_pods_outlive_the_ray_cluster(rays: RayClusters) -> None:
    rays.pace(ending=LONG)
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    rays.api.delete(rays.path("c"))
    assert not rays.api.exists(rays.path("c"))
    assert rays.pods("c") != []
    rays.pace(ending=0.0)
    rays.gone("c")
    rays.until(lambda: not rays.api.exists(rays.core("services", "c-head-svc")), "the head's Service is gone")


# --- writing beside others ---


def test_the_groups_are_one_list_so_that_an_apply_beside_the_autoscaler_conflicts(rays: RayClusters) -> None:
    manifest = rays.manifest("c", _without_replicas(rays))
    assert rays.apply(manifest, "us").is_success
    rays.patch("c", {"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": 1})
    refused = rays.apply(manifest, "us")
    assert refused.status_code == 409
    assert [cause["field"] for cause in refused.json()["details"]["causes"]] == [".spec.workerGroupSpecs"]


def test_an_apply_by_force_sets_replicas_to_zero(rays: RayClusters) -> None:
    manifest = rays.manifest("c", _without_replicas(rays))
    assert rays.apply(manifest, "us").is_success
    rays.scale("c", 1, ["x"])
    forced = rays.apply(manifest, "us", force=True).json()["spec"]["workerGroupSpecs"][0]
    assert (forced["replicas"], forced.get("scaleStrategy")) == (0, None)


def _without_replicas(rays: RayClusters) -> dict[str, Any]:
    return {name: value for name, value in rays.group(0).items() if name != "replicas"}
