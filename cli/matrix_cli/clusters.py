"""Which cluster a command means: the one that is named, the one of a model, or the only one there is."""

from __future__ import annotations

from collections.abc import Sequence

from matrix_cli.references import Selection, read_key
from matrix_cli.suggestions import not_found
from matrix_client import endpoints
from matrix_client.errors import NotReady, UsageError
from matrix_client.verdict import condition
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Store, StoredObject

OPENAI = "openai"
_START = "start one with `matrix up FILE`"


async def find_cluster(store: Store, namespace: str, subject: str | None) -> StoredObject:
    """`subject`: mxc/NAME, mxd/NAME, a model's served name, a cluster's name, or nothing for the only one. Raises NotFound, UsageError."""
    if subject is None:
        return _only(await store.list("MatrixCluster", namespace))
    models = await store.list("ModelDeployment", namespace)
    if any(subject in (*endpoints.served_names(model), model.key.name) for model in models):
        return await _of(store, endpoints.pick(models, subject).key)
    if "/" in subject:
        return await _of(store, read_key(subject, namespace))
    clusters = {stored.key.name: stored for stored in await store.list("MatrixCluster", namespace)}
    if subject in clusters:
        return clusters[subject]
    names = [*sorted({endpoints.served_name(model) for model in models}), *(f"mxc/{name}" for name in clusters)]
    raise NotFound(f"there is no model or cluster {subject!r}; " + (f"there is {', '.join(names)}" if names else _START))


def address(cluster: StoredObject) -> str:
    """Where its models answer: OpenAI's base URL. Raises NotReady."""
    found = cluster.raw.get("status", {}).get("endpoints", ())
    url = next((str(endpoint["url"]) for endpoint in found if endpoint.get("name") == OPENAI), None)
    if url is None:
        raise _without_address(cluster)
    return url


def _only(found: Sequence[StoredObject]) -> StoredObject:
    if not found:
        raise NotFound(f"there is no cluster; {_START}")
    if len(found) > 1:
        raise UsageError(f"which cluster? there is {', '.join(f'mxc/{stored.key.name}' for stored in found)}")
    return found[0]


async def _of(store: Store, key: ObjectKey) -> StoredObject:
    """A cluster, or that of a model."""
    try:
        stored = await store.get(key)
    except NotFound as error:
        raise await not_found(store, Selection(*key)) from error
    if key.kind == "MatrixCluster":
        return stored
    return await _of(store, ObjectKey("MatrixCluster", key.namespace, stored.raw["spec"]["clusterRef"]["name"]))


def _without_address(cluster: StoredObject) -> NotReady:
    ready = condition(cluster.raw, "Ready") or {}
    if ready.get("status") == "True":
        return NotReady(cluster.key, "", f"its endpoint has not told its address yet; see `matrix why {cluster.key}`")
    message = ready.get("message") or "the controller has not looked at it yet"
    return NotReady(cluster.key, str(ready.get("reason", "")), f"{message}; see `matrix why {cluster.key}`")
