"""How many workers groups of fixed size have. Pure. Here, since the controller and a site's bridge must agree on it."""

from __future__ import annotations

from collections.abc import Mapping

from matrix_crds.cluster import MatrixClusterSpec, WorkerGroup


def fixed_number(group: WorkerGroup) -> int:
    """Of a group that is not autoscaled: one, if the manifest does not say."""
    return 1 if group.replicas is None else group.replicas


def fixed_numbers(spec: MatrixClusterSpec) -> dict[str, int]:
    """By the groups' names."""
    return {group.name: fixed_number(group) for group in spec.worker_groups}


def worker_numbers(spec: MatrixClusterSpec, former: Mapping[str, int]) -> dict[str, int]:
    """What nodes there can be now, by the names of the groups that there are; `former`: how many each was to have until now.

    A group that the spec does not have any more gives up its workers, unless the spec has one that is not there yet: that comes with
    the next template, and may be the same one under another name. Until then the former stays as it is.
    """
    wanted = fixed_numbers(spec)
    held_back = not wanted.keys() <= former.keys()
    return {name: wanted.get(name, number if held_back else 0) for name, number in former.items()}
