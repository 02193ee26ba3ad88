"""The peer: a minimal operator in the usual style, with kopf's handlers and the official client. It does the same work as ours for as long
as nothing goes wrong: Secrets, Services and a RayCluster for each MatrixCluster, a Serve configuration for its models, a Ready condition.
It notices nothing that happens afterwards.
"""

from __future__ import annotations

import json
import secrets
import sys
import urllib.request
from typing import Any

import kopf
import kubernetes

GROUP, VERSION = "matrix.dev", "v1alpha1"
RAY = ("ray.io", "v1")
RAYS = ""
"""Where the Rays of the clusters answer."""


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    kubernetes.config.load_kube_config(sys.argv[1])
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.execution.max_workers = 32  # of the thread pool that the handlers run in


@kopf.on.create(GROUP, VERSION, "matrixclusters", retries=5)
def create_cluster(body: kopf.Body, name: str, namespace: str, uid: str, **_: Any) -> None:
    core, custom = kubernetes.client.CoreV1Api(), kubernetes.client.CustomObjectsApi()
    for suffix in ("ray-token", "client-token"):
        secret = {"metadata": {"name": f"{name}-{suffix}"}, "stringData": {"auth_token": secrets.token_urlsafe(32)}}
        kopf.adopt(secret, owner=body)
        core.create_namespaced_secret(namespace, secret)
    for suffix, port in (("gateway", 8470), ("directory", 8471)):
        selector = {"ray.io/cluster": name, "ray.io/node-type": "head"}
        service = {"metadata": {"name": f"{name}-{suffix}"}, "spec": {"selector": selector, "ports": [{"port": port}]}}
        kopf.adopt(service, owner=body)
        core.create_namespaced_service(namespace, service)
    cluster = ray_cluster(name)
    kopf.adopt(cluster, owner=body)
    custom.create_namespaced_custom_object(*RAY, namespace, "rayclusters", cluster)


@kopf.on.event(*RAY, "rayclusters")
def follow_ray_cluster(status: kopf.Status, name: str, namespace: str, **_: Any) -> None:
    if status.get("state") == "ready":
        put_serve(namespace, name, [])
        write_ready(namespace, "matrixclusters", name)


@kopf.on.create(GROUP, VERSION, "modeldeployments", retries=1000, backoff=1)
def create_model(spec: kopf.Spec, name: str, namespace: str, **_: Any) -> None:
    cluster = spec["clusterRef"]["name"]
    custom = kubernetes.client.CustomObjectsApi()
    found = custom.get_namespaced_custom_object(*RAY, namespace, "rayclusters", cluster)
    if found.get("status", {}).get("state") != "ready":
        raise kopf.TemporaryError("the cluster is not ready", delay=1)
    put_serve(namespace, cluster, [name])
    write_ready(namespace, "modeldeployments", name)


def ray_cluster(name: str) -> dict[str, Any]:
    container = {"name": "ray-head", "image": "example.org/matrix:bench"}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}
    auth = {"mode": "token", "secretName": f"{name}-ray-token"}
    spec = {"rayVersion": "2.60.0", "authOptions": auth, "headGroupSpec": head}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": spec}


def put_serve(namespace: str, cluster: str, models: list[str]) -> None:
    names = ["mx-system", *(f"mx-md-{model}" for model in models)]
    entries = [{"name": name, "import_path": "matrix:app", "args": {"servedName": name, "version": "1"}} for name in names]
    url = f"{RAYS}/{namespace}.{cluster}/api/serve/applications/"
    body = json.dumps({"applications": entries}).encode()
    request = urllib.request.Request(url, method="PUT", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def write_ready(namespace: str, plural: str, name: str) -> None:
    custom = kubernetes.client.CustomObjectsApi()
    found = custom.get_namespaced_custom_object(GROUP, VERSION, namespace, plural, name)
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "ready",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"observedGeneration": found["metadata"]["generation"], "conditions": [condition]}
    custom.patch_namespaced_custom_object_status(GROUP, VERSION, namespace, plural, name, {"status": status})


if __name__ == "__main__":
    RAYS = sys.argv[2]
    kopf.run(clusterwide=True, standalone=True)
