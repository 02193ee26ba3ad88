"""What KubeRay makes of a RayCluster: the head's Service and the pods."""

from __future__ import annotations

from tests.lab.kuberay import autoscaler
from tests.lab.kuberay.client import Object
from tests.lab.kuberay.start import start, wait

PORTS = {"client": 10001, "dashboard": 8265, "gcs-server": 6379, "metrics": 8080, "serve": 8000}
CLUSTER, NODE_TYPE, GROUP = "ray.io/cluster", "ray.io/node-type", "ray.io/group"
HEAD_GROUP = "headgroup"
INDEX = "ray.io/worker-group-replica-index"


def head_service(cluster: Object) -> Object:
    """Headless, and it knows the head before it is ready."""
    name = cluster["metadata"]["name"]
    labels = {CLUSTER: name, NODE_TYPE: "head", "ray.io/identifier": f"{name}-head"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(cluster, labels) | {"name": service_name(cluster)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels,
            "ports": [{"name": name, "port": port, "targetPort": port, "appProtocol": "tcp"} for name, port in PORTS.items()],
        },
    }


def service_name(cluster: Object) -> str:
    return f"{cluster['metadata']['name']}-head-svc"


def head_pod(cluster: Object) -> Object:
    """With Ray's autoscaler as a second container, where that is asked for."""
    pod = _pod(cluster, cluster["spec"]["headGroupSpec"], "head", HEAD_GROUP)
    pod["metadata"]["annotations"] = {
        **pod["metadata"].get("annotations", {}),
        "ray.io/ft-enabled": "false",
        "ray.io/kuberay-version": "standin",
    }
    if autoscaler.wanted(cluster):
        pod["spec"] = autoscaler.beside(cluster, pod["spec"], _token(cluster))
    return pod


def rights(cluster: Object) -> list[tuple[str, str, Object]]:
    """See autoscaler.rights."""
    return autoscaler.rights(cluster, _metadata(cluster, {CLUSTER: cluster["metadata"]["name"]}))


def worker_pod(cluster: Object, group: Object, index: int) -> Object:
    """Its init container waits for the head, with the image, environment and mounts of Ray's own."""
    pod = _pod(cluster, group, "worker", group["groupName"])
    pod["metadata"]["labels"][INDEX] = str(index)
    ray = pod["spec"]["containers"][0]
    waits = {field: ray[field] for field in ("image", "imagePullPolicy", "env", "volumeMounts", "securityContext") if field in ray}
    amounts = {"cpu": "200m", "memory": "256Mi"}
    waits |= {"name": "wait-gcs-ready", "resources": {"requests": amounts, "limits": amounts}, **wait(_address(cluster, "worker"))}
    pod["spec"]["initContainers"] = [*pod["spec"].get("initContainers", []), waits]
    return pod


def _pod(cluster: Object, spec: Object, node_type: str, group: str) -> Object:
    template: Object = spec["template"]
    name = cluster["metadata"]["name"]
    infix = "head" if node_type == "head" else f"{group}-worker"
    labels = {
        **template.get("metadata", {}).get("labels", {}),
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        CLUSTER: name,
        NODE_TYPE: node_type,
        GROUP: group,
        "ray.io/identifier": f"{name}-{node_type}",
        "ray.io/is-ray-node": "yes",
    }
    annotations = template.get("metadata", {}).get("annotations", {})
    metadata = _metadata(cluster, labels) | {"generateName": f"{name}-{infix}-", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _pod_spec(cluster, spec, node_type)}


def _pod_spec(cluster: Object, group: Object, node_type: str) -> Object:
    spec = group["template"]["spec"]
    ray, *others = spec["containers"]
    environment = [*ray.get("env", []), *_environment(cluster, node_type)]
    policy = {"restartPolicy": "Never"} if autoscaler.is_second(cluster) else {}
    joined = _address(cluster, node_type) if node_type == "worker" else ""
    params = group.get("rayStartParams", {}) | ({"no-monitor": "true"} if autoscaler.wanted(cluster) and not joined else {})
    return start({**spec, **policy, "containers": [{**ray, "env": environment}, *others]}, params, joined)


def _environment(cluster: Object, node_type: str) -> list[Object]:
    found: list[Object] = [
        {"name": "RAY_CLUSTER_NAME", "value": cluster["metadata"]["name"]},
        {"name": "RAY_PORT", "value": "6379"},
        {"name": "RAY_ADDRESS", "value": _address(cluster, node_type)},
        autoscaler.of_the_pod("RAY_CLOUD_INSTANCE_ID", "metadata.name"),  # how the autoscaler knows pods and groups again in Ray's nodes
        autoscaler.of_the_pod("RAY_NODE_TYPE_NAME", f"metadata.labels['{GROUP}']"),
    ]
    return found + _token(cluster)


def _token(cluster: Object) -> list[Object]:
    secret = auth_secret(cluster)
    if not secret:
        return []
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "auth_token"}}},
    ]


def _address(cluster: Object, node_type: str) -> str:
    """Of the GCS, as a pod of that type reaches it."""
    head = f"{service_name(cluster)}.{cluster['metadata']['namespace']}.svc.cluster.local"
    return f"{'127.0.0.1' if node_type == 'head' else head}:6379"


def auth_secret(cluster: Object) -> str:
    """The name of the Secret with the token; empty when no token is asked for."""
    options = cluster["spec"].get("authOptions") or {}
    return options.get("secretName") or cluster["metadata"]["name"] if options.get("mode") == "token" else ""


def _metadata(cluster: Object, labels: dict[str, str]) -> Object:
    name, uid = cluster["metadata"]["name"], cluster["metadata"]["uid"]
    owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True}
    return {"namespace": cluster["metadata"]["namespace"], "labels": labels, "ownerReferences": [owner]}
