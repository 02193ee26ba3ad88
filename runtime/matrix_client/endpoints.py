"""Who answers for a model: the ModelDeployment that serves the name, and the directory of its cluster. Read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from matrix_client.context import Context
from matrix_client.verdict import Verdict, judge
from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import DeploymentReason
from matrix_store.errors import NotFound
from matrix_store.port import StoredObject

ENDPOINT = "openai"
"""The endpoint that a deployment's status has once a replica is ready."""
DIRECTORY_ENDPOINT = "grpc"
"""The endpoint of a cluster's directory: grpc://host:port."""


@dataclass(frozen=True)
class Target:
    """Whom to ask for a model."""

    deployment: ObjectKey
    served_name: str
    model: str
    """Only replicas that serve this name are asked; "": the deployment was asked for by its own name, and any of its replicas will do."""
    application: str
    cluster: StoredObject | None
    """None when there is no such cluster."""
    directory: str
    """host:port, "" when the cluster has none yet."""
    verdict: Verdict
    """How far the deployment is from being ready."""
    replicas: int
    """How many there should be."""


async def find(context: Context, namespace: str, model: str) -> Target:
    """Whom to ask for `model` (a served name, or a ModelDeployment's name). Raises NotFound."""
    from matrix_proto.state import APPLICATION_PREFIX  # and pydantic with it, which a shell that completes a name does without

    store = await context.store()
    deployment = pick(await store.list("ModelDeployment", namespace), model)
    key = ObjectKey("MatrixCluster", namespace, deployment.raw["spec"]["clusterRef"]["name"])
    try:
        cluster = await store.get(key)
    except NotFound:
        cluster = None
    others = {} if cluster is None else {cluster.key: cluster}
    asked = model if model in served_names(deployment) else ""
    return Target(
        deployment=deployment.key,
        served_name=asked or served_name(deployment),
        model=asked,
        application=APPLICATION_PREFIX + deployment.key.name,
        cluster=cluster,
        directory=directory_address(cluster),
        verdict=judge(deployment, "Ready", "True", others),
        replicas=int(deployment.raw["spec"].get("replicas", 1)),
    )


def directory_address(cluster: StoredObject | None) -> str:
    """host:port from the cluster's status; "" when it has none."""
    endpoints = cluster.raw.get("status", {}).get("endpoints", ()) if cluster is not None else ()
    urls = (str(endpoint["url"]) for endpoint in endpoints if endpoint.get("name") == DIRECTORY_ENDPOINT)
    return next(urls, "").removeprefix("grpc://")


def pick(deployments: Sequence[StoredObject], model: str) -> StoredObject:
    """The deployment that serves `model`: by served name, else by its own name. Of those that want one served name who has it goes
    first, then one that answers. Raises NotFound."""
    matching = [d for d in deployments if model in served_names(d)] or [d for d in deployments if d.key.name == model]
    if not matching:
        raise NotFound(_no_model(deployments, model))
    return min(matching, key=lambda d: (not _has(d, model), not _answers(d)))


def served_name(deployment: StoredObject) -> str:
    """The name that requests use."""
    return str(deployment.raw["spec"].get("model", {}).get("servedName") or deployment.key.name)


def served_names(deployment: StoredObject) -> tuple[str, str]:
    """The one that it asks for, and the one that leads to it by its status."""
    name = served_name(deployment)
    return name, str(deployment.raw.get("status", {}).get("model") or name)


def _has(deployment: StoredObject, name: str) -> bool:
    """Who was refused the name may well answer, under its former one."""
    status = deployment.raw.get("status", {})
    refused = any(condition.get("reason") == DeploymentReason.NAME_TAKEN for condition in status.get("conditions", ()))
    return status.get("model") == name and not refused


def _answers(deployment: StoredObject) -> bool:
    return any(endpoint.get("name") == ENDPOINT for endpoint in deployment.raw.get("status", {}).get("endpoints", ()))


def _no_model(deployments: Sequence[StoredObject], model: str) -> str:
    names = sorted({served_name(d) for d in deployments})
    close = get_close_matches(model, names, n=1)
    if close:
        return f"no model {model!r}; did you mean {close[0]!r}?"
    return (
        f"no model {model!r}; there is {', '.join(names)}"
        if names
        else f"no model {model!r}, nor any other; start one with `matrix up FILE`"
    )
