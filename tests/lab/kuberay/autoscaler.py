"""What KubeRay makes for Ray's autoscaler: a container beside the head, and what lets it talk to the API server. Pure.

As BuildAutoscalerContainer, BuildRole and their neighbours in KubeRay's controllers/ray/common do it.
"""

from __future__ import annotations

from tests.lab.kuberay.client import Object

NAME = "autoscaler"
_RBAC = "rbac.authorization.k8s.io"
_COMMAND = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
_LOGS = {"name": "ray-logs", "mountPath": "/tmp/ray"}
_RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
    {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "patch"]},
]
_OVERRIDES = ("resources", "image", "imagePullPolicy", "securityContext")
"""Of autoscalerOptions; what the operator does not use is left out."""


def wanted(cluster: Object) -> bool:
    return bool(cluster["spec"].get("enableInTreeAutoscaling"))


def is_second(cluster: Object) -> bool:
    """Whether it is wanted, and in its version 2."""
    return wanted(cluster) and (cluster["spec"].get("autoscalerOptions") or {}).get("version") == "v2"


def account(cluster: Object) -> str:
    """The name of the service account of the head."""
    return str(cluster["spec"]["headGroupSpec"]["template"]["spec"].get("serviceAccountName") or cluster["metadata"]["name"])


def rights(cluster: Object, metadata: Object) -> list[tuple[str, str, Object]]:
    """Path of the API group, plural and manifest of what is made before the head. `metadata`: of what belongs to the cluster, without
    a name. An account that the head's template names is its user's to make."""
    name = cluster["metadata"]["name"]
    subject = {"kind": "ServiceAccount", "name": account(cluster), "namespace": cluster["metadata"]["namespace"]}
    own = metadata | {"name": name}
    group = f"/apis/{_RBAC}/v1"
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": own, "rules": _RULES}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": own,
        "subjects": [subject],
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
    }
    made: list[tuple[str, str, Object]] = [(group, "roles", role), (group, "rolebindings", binding)]
    if account(cluster) == name:
        made.insert(0, ("/api/v1", "serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own}))
    return made


def beside(cluster: Object, spec: Object, token: list[Object]) -> Object:
    """The head's pod with the autoscaler in it. `token`: the environment that opens Ray."""
    ray, *others = spec["containers"]
    ray = {**ray, "volumeMounts": [*ray.get("volumeMounts", []), _LOGS]}
    if is_second(cluster):
        ray["env"] = [*ray.get("env", []), {"name": "RAY_enable_autoscaler_v2", "value": "true"}]
    return {
        **spec,
        "serviceAccountName": account(cluster),
        "containers": [ray, *others, _container(cluster, ray["image"], token)],
        "volumes": [*spec.get("volumes", []), {"name": _LOGS["name"], "emptyDir": {}}],
    }


def of_the_pod(name: str, field: str) -> Object:
    """An environment variable that is a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}


def _container(cluster: Object, image: str, token: list[Object]) -> Object:
    options = cluster["spec"].get("autoscalerOptions") or {}
    amounts = {"cpu": "500m", "memory": "512Mi"}
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-c", "--"],
        "args": [_COMMAND],
        "env": [
            {"name": "RAY_CLUSTER_NAME", "value": cluster["metadata"]["name"]},
            of_the_pod("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
            of_the_pod("RAY_HEAD_POD_NAME", "metadata.name"),
            {"name": "KUBERAY_CRD_VER", "value": "v1"},
            *token,
        ],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [_LOGS],
        **{field: options[field] for field in _OVERRIDES if field in options},
    }
