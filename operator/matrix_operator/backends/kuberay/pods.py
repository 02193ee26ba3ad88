"""The templates of the head's and the workers' pods. Pure. KubeRay adds the command, the probes, /dev/shm and a worker's init container."""

from __future__ import annotations

from matrix_crds.cluster import MatrixCluster, Resources, WorkerGroup
from matrix_operator.backends.kuberay.names import Object, own_labels
from matrix_operator.backends.kuberay.overlay import overlay
from matrix_operator.backends.kuberay.settings import Accelerator, KubeRaySettings
from matrix_operator.backends.kuberay.template import autoscales, kubernetes_of
from matrix_operator.backends.kuberay.volumes import (
    GCS_DIRECTORY,
    HOME_DIRECTORY,
    Directories,
    Mounted,
    directories,
    head_volumes,
    worker_volumes,
)

HEAD_CONTAINER = "ray-head"
WORKER_CONTAINER = "ray-worker"
"""The names that a fragment uses to change them."""
DIRECTORIES_CONTAINER = "matrix-directories"
"""The init container that makes the directories in volumes, where the manifest names some."""

_STOP_SECONDS = 30
"""For Ray's processes to end after the draining."""

_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's default runs every replica, and vLLM in it, at nice 15
    "HOME": HOME_DIRECTORY,
    "USER": "matrix",  # torch asks for the user's name, and an image need not have one for the uid
}
_DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
"""On SIGTERM `ray start --block` (process 1 of the container) tells the GCS that its node drains, and waits for at most so long: Serve
starts a worker's replicas elsewhere, then those here finish what they have begun, and an empty raylet ends (2.60, ray/_private/node.py)."""
_HEAD_DRAIN_SECONDS = 10
"""A head has nowhere to move to. So long it is there for workers that go at the same time: without a GCS each would ask for one until its
own time is over."""
_SMALL = {"cpu": "100m", "memory": "64Mi"}
_GCS = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": GCS_DIRECTORY}


def head_template(cluster: MatrixCluster, settings: KubeRaySettings) -> Object:
    container = _container(cluster, settings, HEAD_CONTAINER, head_volumes(cluster), _RAY | _GCS | {_DRAIN: str(_HEAD_DRAIN_SECONDS)})
    container["resources"] = _requested(cluster.spec.head.resources, settings.gpu_resource)
    # The autoscaler beside the head talks to the API server with the pod's token.
    return _template(cluster, settings, container, head_volumes(cluster), token=autoscales(cluster.spec))


def worker_template(cluster: MatrixCluster, group: WorkerGroup, settings: KubeRaySettings) -> Object:
    """With the group's fragment laid over it. Raises FragmentProblem; KeyError for an accelerator that the settings do not know."""
    accelerator = settings.accelerators[group.accelerator] if group.accelerator else Accelerator({})
    container = _container(cluster, settings, WORKER_CONTAINER, worker_volumes(cluster), _RAY | {_DRAIN: str(settings.drain_seconds)})
    container["resources"] = _requested(group.resources, accelerator.resource or settings.gpu_resource)
    template = _template(cluster, settings, container, worker_volumes(cluster), token=False)
    template["spec"]["terminationGracePeriodSeconds"] = settings.drain_seconds + _STOP_SECONDS
    if accelerator.node_labels:
        template["spec"]["nodeSelector"] = dict(accelerator.node_labels)
    laid = overlay(template, group.kubernetes.template) if group.kubernetes else template
    # What finds the pods again is not the user's to change; names are KubeRay's to give.
    metadata = {name: value for name, value in laid["metadata"].items() if name not in ("name", "generateName", "namespace")}
    return laid | {"metadata": metadata | {"labels": metadata["labels"] | own_labels(cluster)}}


def _template(cluster: MatrixCluster, settings: KubeRaySettings, container: Object, mounted: tuple[Mounted, ...], *, token: bool) -> Object:
    account = kubernetes_of(cluster.spec).service_account_name
    spec: Object = {
        "containers": [container],
        "volumes": [item.volume for item in mounted],
        "securityContext": _pod_security(settings),
        "enableServiceLinks": False,  # a Service named ray would set RAY_PORT
    }
    made = directories(mounted)
    if made.paths:
        spec["initContainers"] = [_directories(container, made)]
    if account:
        spec["serviceAccountName"] = account
    elif not token:
        spec["automountServiceAccountToken"] = False
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return {"metadata": {"labels": own_labels(cluster)}, "spec": spec}


def _container(
    cluster: MatrixCluster, settings: KubeRaySettings, name: str, mounted: tuple[Mounted, ...], environment: dict[str, str]
) -> Object:
    return {
        "name": name,
        "image": kubernetes_of(cluster.spec).image or settings.ray_images.get(cluster.spec.ray.version, settings.image),
        "imagePullPolicy": settings.image_pull_policy,
        "env": [{"name": variable, "value": value} for variable, value in environment.items()],
        "volumeMounts": [item.mount for item in mounted],
        "securityContext": container_security(),
    }


def _directories(ray: Object, made: Directories) -> Object:
    """Makes them as the pods' user. What `mkdir` complains of becomes the container's last word."""
    return {
        "name": DIRECTORIES_CONTAINER,
        "image": ray["image"],
        "imagePullPolicy": ray["imagePullPolicy"],
        "command": ["mkdir", "-p", *made.paths],
        "volumeMounts": list(made.mounts),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
        "resources": {"requests": dict(_SMALL), "limits": dict(_SMALL)},
    }


def _requested(resources: Resources, gpu_resource: str) -> Object:
    """Requests = limits: nothing is shared that was promised."""
    amounts: dict[str, str] = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpu:
        amounts[gpu_resource] = str(resources.gpu)
    return {"requests": dict(amounts), "limits": dict(amounts)}


def container_security() -> Object:
    """With the pod's part it satisfies the Pod Security Standard "restricted"."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}


def _pod_security(settings: KubeRaySettings) -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": settings.run_as_user,
        "runAsGroup": settings.run_as_user,
        "fsGroup": settings.run_as_user,
        "fsGroupChangePolicy": "OnRootMismatch",  # else a large model cache is walked through at each start
        "seccompProfile": {"type": "RuntimeDefault"},
    }
