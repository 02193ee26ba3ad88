"""What is checked before a RayCluster is made or changed: each refusal names the field and what to write."""

from __future__ import annotations

from collections.abc import Iterator

from matrix_crds.cluster import MatrixCluster, MatrixClusterSpec, PersistentVolumeClaim
from matrix_crds.constants import RAY_VERSION
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.names import HEAD_GROUP, Object, is_ours
from matrix_operator.backends.kuberay.reading import label
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.kuberay.template import autoscales, kubernetes_of
from matrix_operator.backends.kuberay.volumes import sub_path
from matrix_operator.backends.port import BackendRefusal

OLDEST_RAY = (2, 52, 0)
"""KubeRay refuses token authentication for what is older (ValidateRayClusterSpec)."""


def check_name(cluster: MatrixCluster, found: Object | None, kind: str = "RayCluster") -> None:
    """Raises BackendRefusal if what has our name is somebody else's."""
    if found is None or is_ours(found, cluster):
        return
    name, namespace = found["metadata"]["name"], cluster.metadata.namespace
    owner = label(found, UID_LABEL)
    whose = f"belongs to a former MatrixCluster (uid {owner})" if owner else "was not made by this operator"
    message = (
        f"the {kind} {name} in namespace {namespace} {whose}; "
        f"delete it (kubectl delete {kind.lower()} {name} -n {namespace}), or give this MatrixCluster another name"
    )
    raise BackendRefusal(ClusterReason.NAME_TAKEN, message)


def check_always(spec: MatrixClusterSpec) -> None:
    """Raises BackendRefusal for what can't be done to a running cluster either."""
    if spec.suspend and kubernetes_of(spec).queue_name is not None:
        message = "spec.suspend can't be used with backend.kubernetes.queueName, since Kueue suspends; delete the cluster instead"
        raise BackendRefusal(ClusterReason.NOT_SUPPORTED, message)


def check_new(spec: MatrixClusterSpec, settings: KubeRaySettings) -> None:
    """Raises BackendRefusal for what no cluster can be made of. What runs already is not asked: the site's settings may have changed."""
    _check_ray(spec, settings)
    for index, group in enumerate(spec.worker_groups):
        field = f"spec.workerGroups[{index}]"
        if group.name == HEAD_GROUP:
            raise _invalid(f"{field}.name {HEAD_GROUP} is what KubeRay calls the head's own group; choose another name")
        if group.accelerator and group.accelerator not in settings.accelerators:
            known = ", ".join(sorted(settings.accelerators)) or "none"
            fact = f"{field}.accelerator {group.accelerator} is not known to this operator (it knows {known})"
            raise _invalid(f"{fact}; choose one of these, or add it to the chart's value `clusters.accelerators`")
        parts = [name for name, amount in group.ray_resources.items() if not float(amount).is_integer()]
        if parts and autoscales(spec):
            fact = f"{field}.rayResources.{parts[0]} is not whole, and Ray's autoscaler, which reads all groups, takes whole amounts only"
            raise _invalid(f"{fact}; write a whole number")
    for where, claim in _claims(spec):
        if ".." in sub_path(claim).split("/"):
            raise _invalid(f"{where}.persistentVolumeClaim.path must not leave the volume; remove the `..`")


def _check_ray(spec: MatrixClusterSpec, settings: KubeRaySettings) -> None:
    wanted = spec.ray.version
    if tuple(map(int, wanted.split("."))) < OLDEST_RAY:
        fact = f"spec.ray.version {wanted} is older than {'.'.join(map(str, OLDEST_RAY))}, the first with tokens"
        raise BackendRefusal(ClusterReason.RAY_VERSION_MISMATCH, f"{fact}; write `version: {RAY_VERSION}`")
    if kubernetes_of(spec).image is None and wanted not in {RAY_VERSION, *settings.ray_images}:
        fact = f"spec.ray.version is {wanted}, but this operator's image has Ray {RAY_VERSION}"
        advice = f"write `version: {RAY_VERSION}`, or name an image with Ray {wanted} in spec.backend.kubernetes.image"
        raise BackendRefusal(ClusterReason.RAY_VERSION_MISMATCH, f"{fact}; {advice}")


def _claims(spec: MatrixClusterSpec) -> Iterator[tuple[str, PersistentVolumeClaim]]:
    for where, volume in (("spec.storage", spec.storage), ("spec.modelCache", spec.model_cache)):
        if volume is not None and volume.persistent_volume_claim is not None:
            yield where, volume.persistent_volume_claim


def _invalid(message: str) -> BackendRefusal:
    return BackendRefusal(ClusterReason.INVALID_SPEC, message)
