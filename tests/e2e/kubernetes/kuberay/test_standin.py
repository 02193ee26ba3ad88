"""What the stand-in for KubeRay and its machines can be told to do wrong: each knob has the effect that its name says."""

from __future__ import annotations

from tests.e2e.kubernetes.kuberay.ray_clusters import LONG, RayClusters, names
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.client import Object
from tests.lab.kuberay.faults import OUT_OF_MEMORY, Ended
from tests.lab.kuberay.standin import InThread


def test_down_it_does_nothing_and_catches_up_afterwards(rays: RayClusters, knobs: InThread) -> None:
    knobs.set(knobs.faults, down=True)
    rays.make("c", rays.group(1))
    rays.stays(lambda: rays.pods("c") == [] and rays.status("c") == {}, "nothing happens")
    knobs.set(knobs.faults, down=False)
    rays.ready("c", 1)


def test_blind_it_misses_that_a_pod_is_gone(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    knobs.set(knobs.faults, blind=True)
    (worker,) = rays.pods("c", "worker")
    rays.api.delete(rays.core("pods", worker["metadata"]["name"]))
    rays.until(lambda: not rays.pods("c", "worker"), "the worker is gone")
    rays.stays(lambda: rays.status("c")["readyWorkerReplicas"] == 1 and not rays.pods("c", "worker"), "nothing is noticed")
    knobs.set(knobs.faults, blind=False)
    rays.ready("c", 1)


def test_a_late_a_frozen_and_a_lying_status(rays: RayClusters, knobs: InThread) -> None:
    knobs.set(knobs.faults, status_delay=LONG)
    rays.make("c", rays.group(1))
    rays.until(lambda: len(_running(rays.pods("c"))) == 2, "the pods run")
    assert rays.status("c") == {}
    knobs.set(knobs.faults, status_delay=0.5)
    rays.ready("c", 1)
    rays.scale("c", 2)
    rays.ready("c", 2)
    knobs.set(knobs.faults, status_delay=0.0, status_frozen=True)
    rays.scale("c", 0)
    rays.until(lambda: not rays.pods("c", "worker"), "the worker is gone")
    assert rays.status("c")["readyWorkerReplicas"] == 2
    knobs.set(knobs.faults, status_frozen=False, lies={"readyWorkerReplicas": 7})
    rays.until(lambda: rays.status("c")["readyWorkerReplicas"] == 7, "it lies")


def test_an_old_one_has_no_conditions_and_suspends_all_the_same(rays: RayClusters, knobs: InThread) -> None:
    knobs.set(knobs.faults, old=True)
    rays.make("c", rays.group(1))
    status = rays.until(lambda: rays.status("c") if rays.status("c").get("state") == "ready" else None, "it is ready")
    assert {"conditions", "observedGeneration"}.isdisjoint(status)
    rays.merge("c", {"suspend": True})
    rays.until(lambda: rays.status("c")["state"] == "suspended" and not rays.pods("c"), "it is suspended")


def test_a_container_that_ends_is_started_again_in_place(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c")
    rays.ready("c")
    knobs.set(knobs.pace, restarting=LONG)
    pod = rays.head("c")
    knobs.do(lambda standin: standin.end_container((rays.namespace, pod["metadata"]["name"]), OUT_OF_MEMORY))
    rays.until(lambda: rays.condition("c", "HeadPodReady")["reason"] == "OOMKilled", "HeadPodReady tells")
    knobs.set(knobs.pace, restarting=0.0)
    rays.until(lambda: _ray(rays.head("c"))["restartCount"] == 1, "it is started again")
    rays.ready("c")
    again = rays.head("c")
    assert names([again]) == names([pod])
    assert _ray(again)["lastState"]["terminated"]["exitCode"] == 137
    assert rays.status("c")["head"]["podIP"] == pod["status"]["podIP"]


def test_a_container_that_never_restarts_costs_the_pod(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c", enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"})
    rays.ready("c")
    pod = rays.head("c")
    assert [container["name"] for container in pod["spec"]["containers"]] == ["ray-head", "autoscaler"]
    knobs.do(lambda standin: standin.end_container((rays.namespace, pod["metadata"]["name"]), Ended()))
    rays.until(lambda: names(rays.pods("c", "head")).isdisjoint(names([pod])), "the head is made anew")
    rays.ready("c")


def test_a_container_that_ends_at_each_start(rays: RayClusters, knobs: InThread) -> None:
    knobs.set(knobs.ailments, crashing_images={rays.image: Ended("Error", 3, "no such file")})
    rays.make("c")
    rays.until(lambda: rays.condition("c", "HeadPodReady").get("reason") == "CrashLoopBackOff", "HeadPodReady tells")
    assert _ray(rays.head("c"))["lastState"]["terminated"]["message"] == "no such file"
    knobs.set(knobs.ailments, crashing_images={})
    rays.ready("c")


def test_an_evicted_pod_is_made_anew(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    (worker,) = rays.pods("c", "worker")
    knobs.do(lambda standin: standin.evict((rays.namespace, worker["metadata"]["name"])))
    rays.until(lambda: names(rays.pods("c", "worker")).isdisjoint(names([worker])), "the worker is made anew")
    rays.ready("c", 1)


def test_a_silent_machine_leaves_its_pods_as_the_node_controller_does(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c")
    rays.ready("c")
    pod = rays.head("c")
    machine = pod["spec"]["nodeName"]
    knobs.do(lambda standin: standin.kubelet.silence(machine))
    silent = rays.until(lambda: rays.head("c") if not _is_true(rays.head("c"), "Ready") else None, "the head is not ready")
    assert _is_true(silent, "ContainersReady")
    rays.until(lambda: "node.kubernetes.io/unreachable" in _taints(rays, machine), "the node controller has noticed")
    rays.api.delete(rays.core("pods", pod["metadata"]["name"]))
    rays.stays(lambda: "deletionTimestamp" in rays.head("c")["metadata"], "nobody ends the pod")
    knobs.do(lambda standin: standin.kubelet.revive(machine))
    rays.until(lambda: names(rays.pods("c")).isdisjoint(names([pod])), "the pod is gone")
    rays.ready("c")


def test_a_machine_that_was_taken_for_lost_says_that_it_is_not(rays: RayClusters, knobs: InThread) -> None:
    """As after a time in which the node controller was cut off."""
    rays.make("c")
    rays.ready("c")
    machine = rays.head("c")["spec"]["nodeName"]
    lost = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
    headers = {"Content-Type": "application/merge-patch+json"}
    told = rays.api.http.patch(f"/api/v1/nodes/{machine}/status", json={"status": {"conditions": [lost]}}, headers=headers)
    assert told.status_code == 200
    rays.until(lambda: "node.kubernetes.io/unreachable" in _taints(rays, machine), "the node controller has noticed")
    rays.until(lambda: not _taints(rays, machine), "it is there again")


def test_the_autoscaler_writes_as_another(rays: RayClusters, knobs: InThread) -> None:
    rays.make("c", rays.group(0), enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"})
    rays.ready("c")
    knobs.do(lambda standin: standin.autoscale((rays.namespace, "c"), 0, 2, []))
    rays.ready("c", 2)
    victim = sorted(names(rays.pods("c", "worker")))[0]
    knobs.do(lambda standin: standin.autoscale((rays.namespace, "c"), 0, 1, [victim]))
    rays.ready("c", 1)
    assert victim not in names(rays.pods("c", "worker"))
    assert "python-requests" in {entry["manager"] for entry in rays.get("c")["metadata"]["managedFields"]}
    rays.scale("c", 0)  # with the autoscaler only it says who goes
    rays.stays(lambda: len(rays.pods("c", "worker")) == 1, "no worker goes that is not named")


def test_it_outlives_the_api_server(rays: RayClusters, knobs: InThread, control_plane: ControlPlane) -> None:
    rays.make("c", rays.group(1))
    rays.ready("c", 1)
    control_plane.api_server.kill()
    control_plane.api_server.start()
    control_plane.ready()
    rays.scale("c", 2)
    rays.ready("c", 2)


def _running(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if pod["status"].get("phase") == "Running"]


def _ray(pod: Object) -> Object:
    found: Object = pod["status"]["containerStatuses"][0]
    return found


def _is_true(pod: Object, type_: str) -> bool:
    return any(entry["type"] == type_ and entry["status"] == "True" for entry in pod["status"]["conditions"])


def _taints(rays: RayClusters, machine: str) -> set[str]:
    return {taint["key"] for taint in rays.api.get(f"/api/v1/nodes/{machine}")["spec"].get("taints", ())}
