"""RayClusters that the API server takes and KubeRay does not. Pure; the ones that a client of it can run into."""

from __future__ import annotations

from tests.lab.kuberay.client import Object

_LONGEST_NAME = 53
_OLDEST_WITH_TOKENS = (2, 52, 0)


def refusal(cluster: Object) -> tuple[str, str] | None:
    """Reason and note of the event that tells of it."""
    metadata = cluster["metadata"]
    whose = f"{metadata['namespace']}/{metadata['name']}"
    if len(metadata["name"]) > _LONGEST_NAME:
        return (
            "InvalidRayClusterMetadata",
            f"The RayCluster metadata is invalid {whose}: the name is longer than {_LONGEST_NAME} characters",
        )
    problem = next(
        filter(None, (_head(cluster["spec"]), *(_group(cluster["spec"], group) for group in _groups(cluster)), _token(cluster["spec"]))), ""
    )
    return ("InvalidRayClusterSpec", f"The RayCluster spec is invalid {whose}: {problem}") if problem else None


def _groups(cluster: Object) -> list[Object]:
    return list(cluster["spec"].get("workerGroupSpecs", []))


def _head(spec: Object) -> str:
    head = spec["headGroupSpec"]["template"]["spec"]
    if not head.get("containers"):
        return "headGroupSpec should have at least one container"
    if _never_only(spec, head):
        return "restartPolicy for head Pod should be Never or unset when using autoscaler V2"
    return ""


def _group(spec: Object, group: Object) -> str:
    name, least, most = group["groupName"], group.get("minReplicas"), group.get("maxReplicas")
    if not group["template"]["spec"].get("containers"):
        return "workerGroupSpec should have at least one container"
    if (least is None or most is None) and not spec.get("enableInTreeAutoscaling"):
        return f"worker group {name} must set both minReplicas and maxReplicas when autoscaling is disabled"
    if least is not None and most is not None and least > most:
        return f"worker group {name} has minReplicas {least} greater than maxReplicas {most}"
    if group.get("idleTimeoutSeconds") is not None and not _has_second_autoscaler(spec):
        return f"worker group {name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled"
    if _never_only(spec, group["template"]["spec"]):
        return f"restartPolicy for worker group {name} should be Never or unset when using autoscaler V2"
    return ""


def _never_only(spec: Object, pod: Object) -> bool:
    """Whether the pod's restartPolicy is one that autoscaler v2 does not go with."""
    return bool(spec.get("enableInTreeAutoscaling")) and _has_second_autoscaler(spec) and pod.get("restartPolicy", "Never") != "Never"


def _has_second_autoscaler(spec: Object) -> bool:
    return bool((spec.get("autoscalerOptions") or {}).get("version") == "v2")


def _token(spec: Object) -> str:
    if (spec.get("authOptions") or {}).get("mode") != "token":
        return ""
    version = spec.get("rayVersion", "")
    if not version:
        return "authOptions.mode is 'token' but RayVersion was not specified. Ray version 2.52.0 or later is required"
    if tuple(int(part) for part in version.split(".")[:3]) < _OLDEST_WITH_TOKENS:
        return f"authOptions.mode is 'token' but minimum Ray version is 2.52.0, got {version}"
    return ""
