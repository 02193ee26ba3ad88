"""What is kept in memory of an object that is watched: what is read, or written back, and nothing else. Pure.

A pod of KubeRay has some 12 KB of JSON, most of it in its spec, which nobody here reads; a thousand clusters have thousands of them.
"""

from __future__ import annotations

from matrix_operator.backends.kuberay.names import Object

_POD_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_POD_STATUS = ("phase", "reason", "message", "podIP", "conditions", "initContainerStatuses", "containerStatuses")
_CONTAINER_STATUS = ("name", "image", "ready", "restartCount", "state", "lastState")
_EVENT = ("metadata", "involvedObject", "reason", "message", "lastTimestamp", "eventTime", "series")


def slim_pod(pod: Object) -> Object:
    """Who it is, on which machine, and how it is."""
    status = _kept(pod.get("status") or {}, _POD_STATUS)
    for name in ("initContainerStatuses", "containerStatuses"):
        if name in status:
            status[name] = [_kept(entry, _CONTAINER_STATUS) for entry in status[name]]
    spec = _kept(pod.get("spec") or {}, ("nodeName",))
    return {"metadata": _kept(pod["metadata"], _POD_METADATA), "spec": spec, "status": status}


def slim_ray_cluster(ray_cluster: Object) -> Object:
    """All but the long record of who set which field: of it, when the spec was written stays (rejection.py)."""
    metadata = ray_cluster["metadata"]
    writes = [
        _kept(entry, ("manager", "time")) | {"fieldsV1": {"f:spec": {}}}
        for entry in metadata.get("managedFields") or ()
        if "f:spec" in (entry.get("fieldsV1") or {})
    ]
    return ray_cluster | {"metadata": metadata | {"managedFields": writes}}


def writable(ray_cluster: Object) -> Object:
    """The same as it is sent back: the record is the API server's, which keeps its own when none is sent."""
    metadata = {name: value for name, value in ray_cluster["metadata"].items() if name != "managedFields"}
    return ray_cluster | {"metadata": metadata}


def slim_service(service: Object) -> Object:
    """Who it is, and what it leads to."""
    metadata = {name: value for name, value in service["metadata"].items() if name != "managedFields"}
    return {"metadata": metadata, "spec": _kept(service["spec"], ("selector", "ports"))}


def slim_event(event: Object) -> Object:
    return _kept(event, _EVENT)


def _kept(found: Object, names: tuple[str, ...]) -> Object:
    return {name: found[name] for name in names if name in found}
