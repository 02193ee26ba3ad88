"""How many workers each group has while nodes of other groups can't come yet. Pure. Here, since the local backend and a site's bridge
must agree on it."""

from __future__ import annotations

from collections.abc import Mapping

from matrix_crds.cluster import MatrixClusterSpec


def worker_numbers(spec: MatrixClusterSpec, former: Mapping[str, int]) -> dict[str, int]:
    """By the names of the groups that there are; `former`: how many each was to have until now.

    A group that the spec does not have any more gives up its workers, unless the spec has one that is not there yet: that comes with
    the next template, and may be the same one under another name. Until then the former stays as it is.
    """
    wanted = {group.name: 1 if group.replicas is None else group.replicas for group in spec.worker_groups}
    held_back = not wanted.keys() <= former.keys()
    return {name: wanted.get(name, number if held_back else 0) for name, number in former.items()}
