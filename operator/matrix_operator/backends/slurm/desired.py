"""From a MatrixCluster to what its site is told. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from matrix_crds.cluster import MatrixCluster
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport

FIRST_ATTEMPT = 1


def present(cluster: MatrixCluster, attempt: int, secrets: Mapping[str, bytes]) -> ClusterDesired:
    """It is to run. `secrets`: the files of its secrets directory, by name."""
    return _desired(cluster, ClusterDesired.PRESENT, attempt, secrets)


def absent(cluster: MatrixCluster) -> ClusterDesired:
    """Nothing of it is to be left: also when it is only made anew."""
    allocation = cluster.status.allocation
    return _desired(cluster, ClusterDesired.DELETE, allocation.attempt if allocation else FIRST_ATTEMPT, {})


def answers(report: ClusterReport, desired: ClusterDesired) -> bool:
    """Whether the site had heard exactly that when it reported: what it said before is about something else."""
    heard = (report.generation, report.attempt, report.phase)
    return heard == (desired.generation, desired.attempt, desired.phase)


def _desired(cluster: MatrixCluster, phase: ClusterDesired.Phase, attempt: int, secrets: Mapping[str, bytes]) -> ClusterDesired:
    metadata = cluster.metadata
    return ClusterDesired(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        generation=metadata.generation,
        phase=phase,
        spec=json.dumps(cluster.spec.to_wire(), sort_keys=True),
        attempt=attempt,
        secrets=secrets,
    )
