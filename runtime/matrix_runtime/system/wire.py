"""What the directory says on its watch stream, as protobuf (directory.proto): pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matrix_proto import directory_pb2
from matrix_proto.state import Replica, ReplicaState

Known = Mapping[str, directory_pb2.Replica]
"""Replicas by id."""

_STATES = {
    ReplicaState.STARTING: directory_pb2.Replica.STARTING,
    ReplicaState.READY: directory_pb2.Replica.READY,
    ReplicaState.DRAINING: directory_pb2.Replica.DRAINING,
    ReplicaState.FAILED: directory_pb2.Replica.FAILED,
}


def known(replicas: Iterable[tuple[Replica, bool]]) -> Known:
    """The replicas, each with whether it is suspect."""
    return {replica.id: _replica(replica, suspect) for replica, suspect in replicas}


def full(now: Known) -> directory_pb2.Update:
    """All there are."""
    return directory_pb2.Update(full=True, replicas=now.values())


def difference(before: Known, now: Known) -> directory_pb2.Update:
    """What has changed; empty when nothing has."""
    changed = [replica for id_, replica in now.items() if before.get(id_) != replica]
    return directory_pb2.Update(replicas=changed, removed=[id_ for id_ in before if id_ not in now])


def _replica(replica: Replica, suspect: bool) -> directory_pb2.Replica:
    load = replica.load
    return directory_pb2.Replica(
        id=replica.id,
        application=replica.application,
        model=replica.model,
        state=_STATES[replica.state],
        grpc_address=replica.grpc_address or "",
        http_url=replica.http_url or "",
        suspect=suspect,
        load=directory_pb2.Load(ongoing=load.ongoing, waiting=load.waiting, cache_use=load.cache_use),
    )
