"""A Kubernetes cluster, as it is seen from here: what is installed in it, who works on the objects, and what one may do. Only looks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matrix_cli.doctor.findings import Finding, ok, problem, warning
from matrix_client.kubernetes_operator import Operator, find_operator
from matrix_crds.constants import GROUP
from matrix_store.errors import NotFound, StoreError, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.kubeconfig import HELP
from matrix_store.port import Raw

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext

OLDEST_MINOR = 29
"""Of Kubernetes 1: the rules between fields in our kinds (x-kubernetes-validations) are stable from here on."""
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_OURS = tuple((GROUP, plural) for plural in ("matrixclusters", "modeldeployments"))
_READ, _WRITE = ("get", "list", "watch"), ("create", "patch", "delete")
RIGHTS: Mapping[str, tuple[str, Sequence[tuple[str, str, str]]]] = {
    "objects": ("see what there is", [(*kind, verb) for kind in _OURS for verb in _READ]),
    "changes": ("apply, scale and delete", [(*kind, verb) for kind in _OURS for verb in _WRITE]),
    "events": ("see what happened", [("", "events", "list")]),
    "tokens": ("chat and `matrix env`", [("", "secrets", "get")]),
    "keys": ("issue and revoke keys", [("", "secrets", verb) for verb in ("get", "create", "patch")]),
    "port-forward": (
        "reach models from outside the cluster",
        [("", "services", "get"), ("", "pods", "list"), ("", "pods/portforward", "get"), ("", "pods/portforward", "create")],
    ),
    "containers' logs": ("`matrix logs` of clusters", [("", "pods", "list"), ("", "pods/log", "get")]),
    "models' logs": ("`matrix logs` of models", [("", "pods", "list"), ("", "pods/exec", "get"), ("", "pods/exec", "create")]),
}
"""What each right is for, and what it consists of: API group, resource, verb."""


async def examine(context: KubernetesContext, namespace: str | None) -> dict[str, list[Finding]]:
    """The findings by section; `namespace` None for the context's own."""
    try:
        namespace = namespace or context.default_namespace
        server = context.connection.server
    except StoreError as error:
        return {"Cluster": [problem("kubeconfig", str(error).partition("; see")[0], HELP)]}
    found = [ok("kubeconfig", f"{server}, namespace {namespace}")]
    try:
        found.append(judge_version(await context.api.get("/version")))
    except StoreError as error:
        return {"Cluster": [*found, problem("API server", str(error), "see whether `kubectl version` gets an answer")]}
    looks = (_kinds(context.api), _kuberay(context.api), _operator(context.api, namespace))
    found += await asyncio.gather(*looks)
    return {"Cluster": found, f"Your rights in namespace {namespace}": await _rights(context.api, namespace)}


def judge_version(told: Raw) -> Finding:
    """`told` is the API server's /version."""
    version, minor = str(told.get("gitVersion", "")), re.match(r"\d+", str(told.get("minor", "")))
    if minor and int(minor[0]) < OLDEST_MINOR:
        return warning("API server", version, f"Matrix is made for Kubernetes 1.{OLDEST_MINOR} and later")
    return ok("API server", version)


async def _kinds(api: Api) -> Finding:
    """Raises ImportError where the operator's half is not installed."""
    from matrix_operator.engines.kubernetes_preflight import INSTALL, current

    try:
        await current(api, seconds=0.0)
    except StoreError as error:
        return problem("kinds", str(error), INSTALL)
    return ok("kinds", "installed, and as this version writes them")


async def _kuberay(api: Api) -> Finding:
    install = 'install KubeRay (docs.ray.io, "Getting Started with KubeRay"); clusters on Kubernetes are made by it'
    try:
        served = (await api.get("/apis/ray.io/v1")).get("resources") or ()
    except (NotFound, Unavailable):
        return problem("KubeRay", "its kinds (ray.io/v1) are not served", install)
    if not any(resource["name"] == "rayclusters" for resource in served):
        return problem("KubeRay", "there is ray.io/v1, but no RayCluster in it", install)
    return ok("KubeRay", "its kinds are served")


async def _operator(api: Api, namespace: str) -> Finding:
    return judge_operator(await find_operator(api, namespace))


def judge_operator(found: Operator | None) -> Finding:
    """None: it can't be told."""
    if found is None:
        return warning("operator", "can't be told: it needs the right to list Leases in all namespaces", "ask whoever runs the cluster")
    if not found.running:
        return problem("operator", f"{found.words}: nobody works on the objects", "start it (`matrix operator run`), or ask for it")
    return ok("operator", f"runs: {found.words}")


async def _rights(api: Api, namespace: str) -> list[Finding]:
    asked = sorted({right for _, rights in RIGHTS.values() for right in rights})
    try:
        answers = dict(zip(asked, await asyncio.gather(*(_may(api, namespace, *right) for right in asked)), strict=True))
    except StoreError as error:
        return [warning("rights", f"can't be seen: {error}", "`kubectl auth can-i --list` may tell")]
    return [judge_right(name, answers) for name in RIGHTS]


def judge_right(name: str, answers: Mapping[tuple[str, str, str], bool]) -> Finding:
    """`answers`: whether each of the rights is there."""
    purpose, rights = RIGHTS[name]
    missing = [right for right in rights if not answers[right]]
    if not missing:
        return ok(name, f"enough for: {purpose}")
    told = ", ".join(f"{verb} {resource}{'.' + group if group else ''}" for group, resource, verb in missing)
    return warning(name, f"not enough for: {purpose}", f"ask the cluster's administrator for: {told}")


async def _may(api: Api, namespace: str, group: str, resource: str, verb: str) -> bool:
    whole, _, part = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": whole, "subresource": part, "verb": verb}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    return bool((await api.create(REVIEWS, review))["status"]["allowed"])
