"""The names of everything that belongs to a cluster on Kubernetes: each is found again from the MatrixCluster alone."""

from __future__ import annotations

from typing import Any

from matrix_crds.cluster import DeletionPolicy, MatrixCluster
from matrix_crds.constants import API_VERSION, GROUP

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, in its wire form."""

RAY_API_VERSION = "ray.io/v1"

UID_LABEL = f"{GROUP}/uid"
"""On everything of ours: the uid of the MatrixCluster. What has the name, but not this, is not ours."""
NAME_LABEL = f"{GROUP}/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "matrix-operator"
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
CLIENT_TOKEN_KEY = "token"
API_KEYS = "api-keys"
API_KEYS_KEY = "api-keys.json"

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
    """Means running code on the cluster: for the control plane."""
    return f"{cluster.metadata.name}-{RAY_TOKEN}"


def client_token_secret(cluster: MatrixCluster) -> str:
    """Means using its models and sandboxes: status.credentialsRef names it."""
    return f"{cluster.metadata.name}-{CLIENT_TOKEN}"


def credentials_secret(cluster: MatrixCluster) -> str:
    """The user's own keys (hub, s3, providers): made by the user, or never."""
    return f"{cluster.metadata.name}-credentials"


def api_keys_secret(cluster: MatrixCluster) -> str:
    """The keys that were issued for the gateway: made with the first of them."""
    return f"{cluster.metadata.name}-{API_KEYS}"


def own_labels(cluster: MatrixCluster) -> dict[str, str]:
    """On every object and pod of the cluster."""
    return {UID_LABEL: cluster.metadata.uid, NAME_LABEL: cluster.metadata.name, MANAGED_BY_LABEL: MANAGED_BY}


def is_ours(found: Object, cluster: MatrixCluster) -> bool:
    """Whether an object that was found was made for this very MatrixCluster, not for a former one or by somebody else."""
    return (found["metadata"].get("labels") or {}).get(UID_LABEL) == cluster.metadata.uid


def owner_references(cluster: MatrixCluster) -> list[Object]:
    """Under deletionPolicy Delete the garbage collector ends what we could not; under Orphan nothing may follow the object."""
    if cluster.spec.deletion_policy is DeletionPolicy.ORPHAN:
        return []
    name, uid = cluster.metadata.name, cluster.metadata.uid
    return [{"apiVersion": API_VERSION, "kind": "MatrixCluster", "name": name, "uid": uid, "controller": True}]


def own_metadata(cluster: MatrixCluster, name: str) -> Object:
    """The metadata of an object that we make for the cluster."""
    metadata: Object = {"name": name, "namespace": cluster.metadata.namespace, "labels": own_labels(cluster)}
    owners = owner_references(cluster)
    return metadata | ({"ownerReferences": owners} if owners else {})
