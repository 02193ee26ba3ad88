"""From a MatrixCluster to its RayCluster and our Services, as dictionaries. Pure, with golden files.

The head's `RAY_gcs_storage` lies on an emptyDir: Ray's state outlives the container, not the pod. With autoscaling KubeRay wants
restartPolicy Never (it refuses anything else beside autoscaler v2), so there a dead GCS means a new head pod, and the models start again.
"""

from __future__ import annotations

from matrix_crds.cluster import Allocation, MatrixCluster, MatrixClusterSpec, WorkerGroup
from matrix_operator.backends.kuberay.names import (
    ATTEMPT_ANNOTATION,
    CLUSTER_LABEL,
    DIRECTORY_PORT,
    GATEWAY_PORT,
    HEAD,
    NODE_TYPE_LABEL,
    QUEUE_LABEL,
    RAY_API_VERSION,
    STATE_PORT,
    TEMPLATE_HASH_ANNOTATION,
    Object,
    gateway_service,
    own_metadata,
    ray_cluster_name,
    ray_token_secret,
)
from matrix_operator.backends.kuberay.pods import container_security, head_template, worker_template
from matrix_operator.backends.kuberay.ray_params import head_params, worker_params
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.kuberay.sizes import idle_timeout, sizes
from matrix_operator.backends.kuberay.template import autoscales, kubernetes_of


def ray_cluster(cluster: MatrixCluster, settings: KubeRaySettings, allocation: Allocation) -> Object:
    """The RayCluster as it is created. Raises FragmentProblem; see checks.py for what must hold before."""
    return {
        "apiVersion": RAY_API_VERSION,
        "kind": "RayCluster",
        "metadata": _metadata(cluster, allocation),
        "spec": _spec(cluster, settings),
    }


def services(cluster: MatrixCluster) -> tuple[Object, ...]:
    """One, in front of the head: the gateway for users, the directory for replicas and clients.

    Also while the head is not ready: replicas report from the first moment on, and models go on answering when Ray's control fails its
    probes. There is no other pod that a request could go to.
    """
    ports = {"http": GATEWAY_PORT, "state": STATE_PORT, "directory": DIRECTORY_PORT}
    spec: Object = {
        "selector": {CLUSTER_LABEL: ray_cluster_name(cluster), NODE_TYPE_LABEL: HEAD},
        "ports": [{"name": port, "port": number, "targetPort": number, "protocol": "TCP"} for port, number in ports.items()],
        "publishNotReadyAddresses": True,
    }
    return ({"apiVersion": "v1", "kind": "Service", "metadata": own_metadata(cluster, gateway_service(cluster)), "spec": spec},)


def _metadata(cluster: MatrixCluster, allocation: Allocation) -> Object:
    metadata = own_metadata(cluster, ray_cluster_name(cluster))
    queue = kubernetes_of(cluster.spec).queue_name
    return metadata | {
        "labels": metadata["labels"] | ({QUEUE_LABEL: queue} if queue else {}),
        "annotations": {TEMPLATE_HASH_ANNOTATION: allocation.template_hash, ATTEMPT_ANNOTATION: str(allocation.attempt)},
    }


def _spec(cluster: MatrixCluster, settings: KubeRaySettings) -> Object:
    spec = cluster.spec
    head: Object = {
        "rayStartParams": head_params(spec.head.resources, works=not spec.worker_groups),
        "template": head_template(cluster, settings),
    }
    rendered: Object = {
        "rayVersion": spec.ray.version,
        "authOptions": {"mode": "token", "secretName": ray_token_secret(cluster)},
        "headGroupSpec": head,
        "workerGroupSpecs": [_group(cluster, group, settings) for group in spec.worker_groups],
    }
    if kubernetes_of(spec).queue_name is None:  # else it is Kueue's
        rendered["suspend"] = spec.suspend
    if autoscales(spec):
        rendered |= {"enableInTreeAutoscaling": True, "autoscalerOptions": autoscaler_options(spec, settings)}
    return rendered


def autoscaler_options(spec: MatrixClusterSpec, settings: KubeRaySettings) -> Object:
    """Those of a cluster with a group that autoscales."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": idle_timeout(sizes(spec)),
        "imagePullPolicy": settings.image_pull_policy,  # the head's image, so in the same way
        "securityContext": container_security(),
    }


def _group(cluster: MatrixCluster, group: WorkerGroup, settings: KubeRaySettings) -> Object:
    size = sizes(cluster.spec)[group.name]
    return {
        "groupName": group.name,
        "replicas": size.replicas,
        **size.limits(),
        "rayStartParams": worker_params(group),
        "template": worker_template(cluster, group, settings),
    }
