"""The names of everything that belongs to a cluster on Kubernetes: each is found again from the MatrixCluster alone. Those that clients
look for, too, are in matrix_crds.on_kubernetes."""

from __future__ import annotations

from typing import Any

from matrix_crds import on_kubernetes
from matrix_crds.cluster import DeletionPolicy, MatrixCluster
from matrix_crds.constants import GROUP
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_proto.keys import KEYS_FILE

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, in its wire form."""

RAY_API_VERSION = "ray.io/v1"

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Kueue's: it suspends what has this label until there is room (kueue.sigs.k8s.io, "Run A RayCluster")."""

TEMPLATE_HASH_ANNOTATION = f"{GROUP}/template-hash"
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
ASKED_ANNOTATION = f"{GROUP}/asked-again"
"""When a KubeRay that gave no sign was made to look once more."""

CLUSTER_LABEL = "ray.io/cluster"
NODE_TYPE_LABEL = "ray.io/node-type"
GROUP_LABEL = "ray.io/group"
HEAD = "head"
HEAD_GROUP = "headgroup"
"""What KubeRay writes into GROUP_LABEL of the head: a worker group of that name would have the head among its pods."""

RAY_TOKEN = "ray-token"
CLIENT_TOKEN = "client-token"
RAY_TOKEN_KEY = "auth_token"
"""The key at which KubeRay looks for a token in the Secret that authOptions.secretName names."""
API_KEYS_KEY = KEYS_FILE

DASHBOARD_PORT = 8265
"""KubeRay's default."""
GATEWAY_PORT = 8470
STATE_PORT = 8471
DIRECTORY_PORT = 8472
"""Ours on the head: beside those of Ray (6379, 8000, 8080, 8265, 10001, 52365), below its workers' range (10002-19999)."""


def ray_cluster_name(cluster: MatrixCluster) -> str:
    """The RayCluster: of the same name, so that people find it. At most 40 characters, where KubeRay allows 53."""
    return cluster.metadata.name


def head_service(cluster: MatrixCluster) -> str:
    """KubeRay's headless Service."""
    return f"{ray_cluster_name(cluster)}-head-svc"


def gateway_service(cluster: MatrixCluster) -> str:
    """Ours, in front of all that answers on the head."""
    return f"{cluster.metadata.name}-gateway"


def ray_token_secret(cluster: MatrixCluster) -> str:
    return on_kubernetes.ray_token_secret(cluster.metadata.name)


def client_token_secret(cluster: MatrixCluster) -> str:
    return on_kubernetes.client_token_secret(cluster.metadata.name)


def credentials_secret(cluster: MatrixCluster) -> str:
    return on_kubernetes.credentials_secret(cluster.metadata.name)


def api_keys_secret(cluster: MatrixCluster) -> str:
    return on_kubernetes.api_keys_secret(cluster.metadata.name)


def own_labels(cluster: MatrixCluster) -> dict[str, str]:
    """On every object and pod of the cluster."""
    return on_kubernetes.labels(cluster.metadata.name, cluster.metadata.uid)


def is_ours(found: Object, cluster: MatrixCluster) -> bool:
    """Whether an object that was found was made for this very MatrixCluster, not for a former one or by somebody else."""
    return (found["metadata"].get("labels") or {}).get(UID_LABEL) == cluster.metadata.uid


def owner_references(cluster: MatrixCluster) -> list[Object]:
    """Under deletionPolicy Delete the garbage collector ends what we could not; under Orphan nothing may follow the object."""
    if cluster.spec.deletion_policy is DeletionPolicy.ORPHAN:
        return []
    return [on_kubernetes.owner_reference(cluster.metadata.name, cluster.metadata.uid)]


def own_metadata(cluster: MatrixCluster, name: str) -> Object:
    """The metadata of an object that we make for the cluster."""
    metadata: Object = {"name": name, "namespace": cluster.metadata.namespace, "labels": own_labels(cluster)}
    owners = owner_references(cluster)
    return metadata | ({"ownerReferences": owners} if owners else {})
