"""How many workers each group has. Pure. It is the part of a group that changes while nodes run."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_crds.cluster import MatrixClusterSpec, WorkerGroup
from matrix_crds.worker_numbers import fixed_number
from matrix_operator.backends.kuberay.names import Object


@dataclass(frozen=True)
class Size:
    """KubeRay clamps `replicas` silently to the other two, so they are given always. For a group of fixed size they are the same:
    then Ray's autoscaler leaves it alone, too."""

    replicas: int
    minimum: int
    maximum: int
    idle_timeout_seconds: int | None = None
    """Given: Ray's autoscaler decides, and `replicas` is only where it begins."""

    @property
    def autoscaled(self) -> bool:
        return self.idle_timeout_seconds is not None

    def limits(self) -> Object:
        """The fields beside `replicas`."""
        fields: Object = {"minReplicas": self.minimum, "maxReplicas": self.maximum}
        return fields | ({"idleTimeoutSeconds": self.idle_timeout_seconds} if self.autoscaled else {})


NONE = Size(0, 0, 0)
"""Of a group that is not wanted any more."""


def sizes(spec: MatrixClusterSpec) -> dict[str, Size]:
    """By the groups' names."""
    return {group.name: _size(group) for group in spec.worker_groups}


def idle_timeout(wanted: dict[str, Size]) -> int:
    """Seconds, for a KubeRay that does not know a group's own idle time: the longest, so that no group shrinks too early."""
    return max(size.idle_timeout_seconds or 0 for size in wanted.values())


def _size(group: WorkerGroup) -> Size:
    if group.autoscale is not None:
        return Size(group.autoscale.min, group.autoscale.min, group.autoscale.max, group.autoscale.idle_timeout_seconds)
    fixed = fixed_number(group)
    return Size(fixed, fixed, fixed)
