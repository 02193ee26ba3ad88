"""What is mounted into the pods, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matrix_crds.cluster import MatrixCluster, ModelCache, PersistentVolumeClaim
from matrix_crds.on_kubernetes import CLIENT_TOKEN_KEY
from matrix_operator.backends.kuberay.names import (
    API_KEYS_KEY,
    CLIENT_TOKEN,
    RAY_TOKEN,
    RAY_TOKEN_KEY,
    Object,
    api_keys_secret,
    client_token_secret,
    credentials_secret,
    ray_token_secret,
)

SECRETS_DIRECTORY = "/var/run/matrix/secrets"
"""Holds the files `ray-token`, `client-token` and, once keys were issued, `api-keys.json`: the kubelet follows its changes."""
CREDENTIALS_DIRECTORY = "/var/run/matrix/credentials"
"""A file for each key of the user's credentials; empty without such a Secret. The kubelet follows its changes, no restart needed."""
GCS_DIRECTORY = "/var/lib/matrix/gcs"
STORAGE_DIRECTORY = "/var/lib/matrix/storage"
MODELS_DIRECTORY = "/var/lib/matrix/models"
HOME_DIRECTORY = "/var/lib/matrix/home"
"""HOME: what libraries keep there (compiled kernels, the hub's state) is writable for any uid, and lives as long as the pod."""

_SECRET_MODE = 0o440
"""For the group of the pod (fsGroup): the processes are not root."""


_WHOLE_VOLUMES = "/var/lib/matrix/volumes"
"""Where the init container sees a claim's volume from its root on."""


@dataclass(frozen=True)
class Mounted:
    """A volume and its place."""

    volume: Object
    mount: Object


@dataclass(frozen=True)
class Directories:
    """What is to be made in volumes before the pod's containers start."""

    mounts: tuple[Object, ...]
    """The volumes, whole."""
    paths: tuple[str, ...]
    """The directories, as they are called there."""


def worker_volumes(cluster: MatrixCluster) -> tuple[Mounted, ...]:
    """What every node mounts."""
    secrets = (
        _mounted(_tokens(cluster), SECRETS_DIRECTORY, readOnly=True),
        _mounted(_credentials(cluster), CREDENTIALS_DIRECTORY, readOnly=True),
    )
    home = _mounted({"name": "matrix-home", "emptyDir": {}}, HOME_DIRECTORY)
    return (*secrets, home, _model_cache(cluster.spec.model_cache), *_storage(cluster))


def head_volumes(cluster: MatrixCluster) -> tuple[Mounted, ...]:
    """What the head mounts: the tables of the GCS as well, so that a GCS that is started again in the same pod finds everything."""
    return (*worker_volumes(cluster), _mounted({"name": "matrix-gcs", "emptyDir": {}}, GCS_DIRECTORY))


def directories(mounted: Iterable[Mounted]) -> Directories:
    """Those that a manifest names in claims. The kubelet would make them for root; and only volumes that are one node's alone are given to
    the pods' group (fsGroup), not a share such as NFS, nor a directory of the node."""
    parts = [item for item in mounted if item.mount.get("subPath")]
    mounts = tuple({"name": item.mount["name"], "mountPath": f"{_WHOLE_VOLUMES}/{item.mount['name']}"} for item in parts)
    return Directories(mounts, tuple(f"{whole['mountPath']}/{item.mount['subPath']}" for whole, item in zip(mounts, parts, strict=True)))


def sub_path(claim: PersistentVolumeClaim) -> str:
    """The directory in the volume as Kubernetes wants it: relative. "" is the root."""
    return (claim.path or "").strip("/")


def _tokens(cluster: MatrixCluster) -> Object:
    sources = [
        {"secret": {"name": ray_token_secret(cluster), "items": [{"key": RAY_TOKEN_KEY, "path": RAY_TOKEN}]}},
        {"secret": {"name": client_token_secret(cluster), "items": [{"key": CLIENT_TOKEN_KEY, "path": CLIENT_TOKEN}]}},
        {"secret": {"name": api_keys_secret(cluster), "items": [{"key": API_KEYS_KEY, "path": API_KEYS_KEY}], "optional": True}},
    ]
    return {"name": "matrix-secrets", "projected": {"sources": sources, "defaultMode": _SECRET_MODE}}


def _credentials(cluster: MatrixCluster) -> Object:
    secret = {"secretName": credentials_secret(cluster), "optional": True, "defaultMode": _SECRET_MODE}
    return {"name": "matrix-credentials", "secret": secret}


def _model_cache(cache: ModelCache | None) -> Mounted:
    name = "matrix-models"
    if cache and cache.persistent_volume_claim:
        return _claimed(name, cache.persistent_volume_claim, MODELS_DIRECTORY)
    if cache and cache.host_path:
        # It must be there: the kubelet would make it for root, and no download could be kept.
        return _mounted({"name": name, "hostPath": {"path": cache.host_path.path, "type": "Directory"}}, MODELS_DIRECTORY)
    limit = cache.empty_dir.size_limit if cache and cache.empty_dir else None
    return _mounted({"name": name, "emptyDir": {"sizeLimit": limit} if limit else {}}, MODELS_DIRECTORY)


def _storage(cluster: MatrixCluster) -> tuple[Mounted, ...]:
    storage = cluster.spec.storage
    if storage is None or storage.persistent_volume_claim is None:
        return ()
    return (_claimed("matrix-storage", storage.persistent_volume_claim, STORAGE_DIRECTORY),)


def _claimed(name: str, claim: PersistentVolumeClaim, path: str) -> Mounted:
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim.claim_name}}
    directory = sub_path(claim)
    return _mounted(volume, path, **({"subPath": directory} if directory else {}))


def _mounted(volume: Object, path: str, **options: object) -> Mounted:
    return Mounted(volume, {"name": volume["name"], "mountPath": path, **options})
