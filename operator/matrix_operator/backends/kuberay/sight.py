"""What one look at the API server found of a cluster. Pure data: whoever lists or watches makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.names import Object, is_ours
from matrix_operator.backends.kuberay.reading import name_of

_SHOWN = 3


@dataclass(frozen=True)
class Sight:
    """Each part is a positive answer: a list that failed is no Sight at all (Unknown)."""

    ray_cluster: Object | None
    """Of the cluster's name, whoever made it."""
    pods: tuple[Object, ...] = ()
    """Ours alone."""
    events: tuple[Object, ...] = ()
    """About the RayCluster: of the group "" or events.k8s.io."""
    complaints: Mapping[str, Object] = field(default_factory=dict)
    """By the uid of a pod that hangs before its containers: the last event that says why."""


def sight(cluster: MatrixCluster, ray_cluster: Object | None, pods: Iterable[Object], events: Iterable[Object] = ()) -> Sight:
    """`pods` may hold those of others: only what carries the cluster's uid counts."""
    return Sight(ray_cluster, tuple(pod for pod in pods if is_ours(pod, cluster)), tuple(events))


def listed(found: Iterable[Object]) -> str:
    """Names, the first few, in words."""
    names = sorted(map(name_of, found))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
