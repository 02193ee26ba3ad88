"""What the operator asks of the API server, right by right, and the roles that allow exactly that.

A test lets an operator work under these roles, takes all of its calls from the API server's audit log, and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from matrix_crds.on_kubernetes import OPERATOR

Manifest = dict[str, Any]

NAMESPACE = "matrix-system"
"""Where the manifests put the operator."""
RBAC = "rbac.authorization.k8s.io"
LEASES = "coordination.k8s.io"


@dataclass(frozen=True)
class Rule:
    """Rights on one resource. `verbs` says of each what for."""

    group: str
    resource: str
    verbs: dict[str, str]
    rare: frozenset[str] = frozenset()
    """Verbs that a life without faults and changes does not use."""


RULES = (
    Rule("matrix.dev", "matrixclusters", {
        "list": "what there is at the start, and after the watch was interrupted",
        "watch": "what changes",
        "patch": "the finalizer, before anything is made, and when all of it is gone",
        "get": "after a finalizer was refused: whether that is because the object is being deleted",
    }, rare=frozenset({"get"})),
    Rule("matrix.dev", "matrixclusters/status", {"patch": "what was seen"}),
    Rule("matrix.dev", "modeldeployments", {"list": "as for clusters", "watch": "as for clusters"}),
    Rule("matrix.dev", "modeldeployments/status", {"patch": "what was seen"}),
    Rule("ray.io", "rayclusters", {
        "list": "what there is of ours, by label",
        "watch": "what changes",
        "get": "whether it is really gone, before the last finalizer is taken off; whose it is, when a name is taken",
        "create": "a cluster's nodes",
        "update": "their number, and a new template, at the version that was read",
        "patch": "the owner, when deletionPolicy changes",
        "delete": "at a cluster's end, and to make its nodes anew",
    }, rare=frozenset({"patch"})),
    Rule("", "pods", {
        "list": "the nodes, by label",
        "watch": "how they are",
        "delete": "those of a cluster that ends, which would wait to be drained",
    }, rare=frozenset({"delete"})),
    Rule("", "services", {
        "list": "those of ours, by label",
        "watch": "whether somebody deletes them",
        "get": "whose it is, before it is deleted",
        "create": "a cluster's endpoint",
        "patch": "the owner, when deletionPolicy changes",
        "delete": "at a cluster's end",
    }, rare=frozenset({"patch"})),
    Rule("", "secrets", {
        "get": "a cluster's two tokens, by name: nothing that lists or watches them is asked for",
        "create": "the tokens of a new cluster",
        "patch": "the owner, when deletionPolicy changes",
        "delete": "at a cluster's end",
    }, rare=frozenset({"patch"})),
    Rule("", "events", {
        "list": "warnings about RayClusters: KubeRay says there alone what it refuses",
        "watch": "the same",
        "create": "what happened to an object",
        "patch": "that it happened once more",
        "get": "how often it had happened, after a restart",
    }, rare=frozenset({"patch", "get"})),
)  # fmt: skip
"""In each namespace that is watched."""

OUTSIDE = (
    Rule("", "services/proxy", {
        "get": "Ray's REST API and the state of what runs, where Services can't be reached directly",
        "update": "Serve's configuration, by the same way",
    }),
)  # fmt: skip
"""Besides, for an operator that does not run in a pod of the cluster."""

HUB = (
    Rule("discovery.k8s.io", "endpointslices", {
        "get": "where a Service leads to, and whose the slice is",
        "create": "to lead the Service of a cluster at a Slurm site to the ends of its tunnels",
        "update": "when another operator acts",
        "delete": "at a cluster's end",
    }),
)  # fmt: skip
"""Besides, in each namespace that is watched, for an operator with a hub."""

LEASE = Rule(LEASES, "leases", {"get": "who acts", "patch": "that we do"})
"""The one lease, by name, in the operator's own namespace."""
NEW_LEASE = Rule(LEASES, "leases", {"create": "the first time, and after somebody has deleted it"})
"""A name can't be asked for with a creation."""

RETIREMENT = (
    Rule("apps", "deployments/scale", {"get": "how many operators there are", "patch": "that none is left, or as many as before"}),
    LEASE,
)
"""By the operator's name, in its own namespace, for `matrix operator retire`; and NEW_LEASE."""
LEFT_BEHIND = Rule("matrix.dev", "matrixclusters", {
    "list": "which there are",
    "patch": "that they can be deleted without an operator",
    "get": "whether one is being deleted, when that was refused",
})  # fmt: skip
"""For the same, in each namespace that was watched, when clusters are kept."""
TAKEN_ALONG = Rule("matrix.dev", "matrixclusters", {"list": "which there are", "delete": "all of them"})
"""The same, when they are deleted."""


@dataclass(frozen=True)
class Place:
    """Where an operator works."""

    namespaces: tuple[str, ...] = ()
    """Those that it watches; none: all."""
    proxied: bool = False
    """It reaches the clusters through the API server, being no pod of the cluster."""
    lease_namespace: str = NAMESPACE
    lease_name: str = OPERATOR
    hub: bool = False
    """Bridges of Slurm sites dial in."""


def needs(place: Place) -> dict[str, dict[str, str]]:
    """Each right that it needs there, in words, as `resourceAttributes` of an access review."""
    rules = RULES + (OUTSIDE if place.proxied else ()) + (HUB if place.hub and not place.proxied else ())
    found: dict[str, dict[str, str]] = {}
    for namespace in place.namespaces or ("",):
        for rule in rules:
            found |= dict(_attributes(rule, namespace))
    lease = dict(_attributes(LEASE, place.lease_namespace, place.lease_name))
    return found | lease | dict(_attributes(NEW_LEASE, place.lease_namespace))


def _attributes(rule: Rule, namespace: str, name: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    resource, _, subresource = rule.resource.partition("/")
    for verb in rule.verbs:
        attributes = {"group": rule.group, "resource": resource, "subresource": subresource, "verb": verb, "namespace": namespace}
        kind = f"{rule.resource}.{rule.group}" if rule.group else rule.resource
        yield f"{verb} {kind} {f'in namespace {namespace}' if namespace else 'in all namespaces'}", attributes | {"name": name}


def outputs() -> dict[str, list[Manifest]]:
    """The manifests, by the name of their file. An operator needs the first, and one of the next two; one with a hub that of the last two
    besides. Those that are namespaced name no namespace: they are applied to each that is watched."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": OPERATOR, "namespace": NAMESPACE}}
    return {
        "own-namespace.yaml": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            account,
            *_bound("Role", f"{OPERATOR}-lease", _lease(), {"namespace": NAMESPACE}),
        ],
        "cluster-wide.yaml": _bound("ClusterRole", OPERATOR, _policy(RULES)),
        "namespaced.yaml": _bound("Role", OPERATOR, _policy(RULES)),
        "hub-cluster-wide.yaml": _bound("ClusterRole", f"{OPERATOR}-hub", _policy(HUB)),
        "hub-namespaced.yaml": _bound("Role", f"{OPERATOR}-hub", _policy(HUB)),
    }


def chart() -> Manifest:
    """The rules of the chart's roles, by what they are for."""
    return {
        "watched": _policy(RULES),
        "hub": _policy(HUB),
        "lease": _lease(),
        "retirement": _named(RETIREMENT),
        "keep": _policy((LEFT_BEHIND,)),
        "delete": _policy((TAKEN_ALONG,)),
    }


def _lease() -> list[Manifest]:
    return _named((LEASE,))


def _named(rules: tuple[Rule, ...]) -> list[Manifest]:
    """Rights on what has the operator's name, and to make its lease."""
    return [*_policy((NEW_LEASE,)), *({**rule, "resourceNames": [OPERATOR]} for rule in _policy(rules))]


def _policy(rules: tuple[Rule, ...]) -> list[Manifest]:
    return [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)} for rule in rules]


def _bound(kind: str, name: str, rules: list[Manifest], place: dict[str, str] | None = None) -> list[Manifest]:
    """A role, and its binding to the operator's account."""
    metadata = {"name": name, **(place or {})}
    reference = {"apiGroup": RBAC, "kind": kind, "name": name}
    subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": NAMESPACE}
    version = f"{RBAC}/v1"
    return [
        {"apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules},
        {"apiVersion": version, "kind": f"{kind}Binding", "metadata": metadata, "roleRef": reference, "subjects": [subject]},
    ]
