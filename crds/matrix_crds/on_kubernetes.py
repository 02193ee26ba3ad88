"""The names of what stands beside the objects on Kubernetes, for those who make it and those who look for it: Secrets, labels, a Lease."""

from __future__ import annotations

from typing import Any

from matrix_crds.constants import API_VERSION, GROUP

OPERATOR = "matrix-operator"
"""The Lease of the operator that acts, its service account and its roles, unless it was told otherwise; and who made what it made."""

UID_LABEL = f"{GROUP}/uid"
"""On everything of ours: the uid of the MatrixCluster. What has the name, but not this, is not ours."""
NAME_LABEL = f"{GROUP}/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

CLIENT_TOKEN_KEY = "token"
"""The key of the client token within its Secret."""


def ray_token_secret(cluster: str) -> str:
    """Means running code on the cluster: for the control plane."""
    return f"{cluster}-ray-token"


def client_token_secret(cluster: str) -> str:
    """Means using its models and sandboxes: status.credentialsRef names it."""
    return f"{cluster}-client-token"


def api_keys_secret(cluster: str) -> str:
    """The keys that were issued for the gateway: made with the first of them."""
    return f"{cluster}-api-keys"


def credentials_secret(cluster: str) -> str:
    """The user's own keys (hub, s3, providers): made by the user, or never."""
    return f"{cluster}-credentials"


def labels(cluster: str, uid: str) -> dict[str, str]:
    """On every object and pod that belongs to the MatrixCluster of that name and uid."""
    return {UID_LABEL: uid, NAME_LABEL: cluster, MANAGED_BY_LABEL: OPERATOR}


def owner_reference(cluster: str, uid: str) -> dict[str, Any]:
    """Lets Kubernetes end an object when that MatrixCluster is gone."""
    return {"apiVersion": API_VERSION, "kind": "MatrixCluster", "name": cluster, "uid": uid, "controller": True}
