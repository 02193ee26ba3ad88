"""Which replicas answer for a model: read from the status of the ModelDeployment that serves the name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from matrix_client.context import Context
from matrix_client.errors import NotReady
from matrix_client.verdict import condition
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import StoredObject

ENDPOINT = "openai"
"""The name of the first replica's endpoint in the status; those of further ones begin with it and a hyphen."""


@dataclass(frozen=True)
class Target:
    """Where to send a request for a model."""

    key: ObjectKey
    served_name: str
    urls: tuple[str, ...]
    """OpenAI base URLs, each ending in /v1."""
    token: str = field(repr=False)


async def find(context: Context, namespace: str, model: str) -> Target:
    """Where `model` (a served name, or a ModelDeployment's name) answers now. Raises NotFound, NotReady."""
    store = await context.store()
    deployment = pick(await store.list("ModelDeployment", namespace), model)
    urls = openai_urls(deployment)
    if not urls:
        raise _not_ready(deployment)
    cluster = await store.get(ObjectKey("MatrixCluster", namespace, deployment.raw["spec"]["clusterRef"]["name"]))
    return Target(deployment.key, served_name(deployment), urls, context.client_token(cluster))


def pick(deployments: Sequence[StoredObject], model: str) -> StoredObject:
    """The deployment that serves `model`: by served name, else by its own name; one with endpoints goes first. Raises NotFound."""
    matching = [d for d in deployments if served_name(d) == model] or [d for d in deployments if d.key.name == model]
    if not matching:
        raise NotFound(_no_model(deployments, model))
    return min(matching, key=lambda d: not openai_urls(d))


def served_name(deployment: StoredObject) -> str:
    """The name that requests use."""
    return str(deployment.raw["spec"].get("model", {}).get("servedName") or deployment.key.name)


def _is_openai(name: str) -> bool:
    return name == ENDPOINT or name.startswith(ENDPOINT + "-")


def openai_urls(deployment: StoredObject) -> tuple[str, ...]:
    """The OpenAI base URLs of the replicas that are ready, each ending in /v1."""
    endpoints = deployment.raw.get("status", {}).get("endpoints", ())
    return tuple(str(endpoint["url"]) for endpoint in endpoints if _is_openai(str(endpoint.get("name"))))


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


def _not_ready(deployment: StoredObject) -> NotReady:
    ready = condition(deployment.raw, "Ready") or {}
    message = ready.get("message") or "the controller has not looked at it yet"
    return NotReady(deployment.key, str(ready.get("reason", "")), f"{message}; see `matrix why {deployment.key}`")
