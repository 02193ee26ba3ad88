"""What to do next about a cluster's RayCluster. Pure: a look goes in, a step comes out; it may be asked again at any time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.checks import check_always, check_name, check_new
from matrix_operator.backends.kuberay.merge import keeps_templates, updated
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.overlay import FragmentProblem
from matrix_operator.backends.kuberay.reading import at, is_ending, items
from matrix_operator.backends.kuberay.rejection import rejection
from matrix_operator.backends.kuberay.render import ray_cluster
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.kuberay.sight import Sight, listed
from matrix_operator.backends.kuberay.victims import worker_pods
from matrix_operator.backends.port import BackendRefusal


@dataclass(frozen=True)
class Create:
    """Make the RayCluster (its Services and Secrets before it)."""

    ray_cluster: Object


@dataclass(frozen=True)
class Replace:
    """Put this in the place of what was read, under its resourceVersion."""

    ray_cluster: Object


@dataclass(frozen=True)
class Wait:
    """For what ends by itself."""

    why: str


Step = Create | Replace | Wait


def decide(
    cluster: MatrixCluster, allocation: Allocation, sight: Sight, settings: KubeRaySettings, idle: Collection[str] = ()
) -> Step | None:
    """The step towards what the spec says; None: nothing to do. `idle`: pods on which nothing runs. Raises BackendRefusal."""
    live = sight.ray_cluster
    check_name(cluster, live)
    check_always(cluster.spec)
    if live is None:
        return _create(cluster, allocation, sight, settings)
    if is_ending(live):
        return Wait("the RayCluster is being deleted")
    rendered = None
    if not keeps_templates(live, cluster, allocation):
        rendered = _rendered(cluster, allocation, settings)
    changed = updated(live, cluster, worker_pods(sight.pods, idle), rendered)
    if changed:
        return Replace(changed)
    refused = rejection(live, sight.events)
    if refused:
        message = f"KubeRay refuses the RayCluster, what runs goes on as before: {refused}; change the manifest"
        raise BackendRefusal(ClusterReason.INVALID_SPEC, message)
    return None


def names_victims(step: Replace, sight: Sight) -> bool:
    """Whether it is to name pods that are not named yet: then it matters which of them are idle."""
    live = sight.ray_cluster or {}
    return bool(_victims(step.ray_cluster) - _victims(live))


def _victims(ray_cluster: Object) -> set[str]:
    return {
        name for group in items(ray_cluster, "spec", "workerGroupSpecs") for name in at(group, "scaleStrategy", "workersToDelete") or ()
    }


def _create(cluster: MatrixCluster, allocation: Allocation, sight: Sight, settings: KubeRaySettings) -> Step:
    """Not beside pods of a former one: KubeRay, which finds pods by their labels, would take them for its own."""
    if sight.pods:
        return Wait(f"waiting for pods of the former RayCluster to end: {listed(sight.pods)}")
    return Create(_rendered(cluster, allocation, settings))


def _rendered(cluster: MatrixCluster, allocation: Allocation, settings: KubeRaySettings) -> Object:
    cluster = settings.over(cluster)
    check_new(cluster.spec, settings)
    try:
        return ray_cluster(cluster, settings, allocation)
    except FragmentProblem as problem:
        message = f"spec.workerGroups[].kubernetes.{problem}; see `kubectl explain pod.spec` for the form"
        raise BackendRefusal(ClusterReason.INVALID_SPEC, message) from problem
