"""From a look at journal and processes to what the backend tells of a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from matrix_crds.cluster import Allocation, AllocationKind
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.decide import dying_message, must_launch_head
from matrix_operator.backends.local.journal import HEAD, ClusterRecord, name_of
from matrix_operator.backends.local.restart import GIVE_REASON_AFTER
from matrix_operator.backends.local.view import View, parts_of
from matrix_operator.backends.port import NodePhase, NodeState, Observation
from matrix_operator.looks import Absent, Look, Present


def observation(view: View, name: str, wanted: Iterable[str], suspended: bool, now: datetime) -> Look[Observation]:
    """`wanted` are the nodes that should run, `name` is the cluster's. Never Absent while a process of it runs."""
    if view.cluster is None:
        return Present(Observation(_lost(name), _lost_head(now))) if view.marked else Absent()
    if suspended:
        return Present(Observation(allocation_of(view.cluster), _suspended(view, view.cluster)))
    workers = tuple(node_state(view, view.cluster, node, now) for node in wanted if node != HEAD)
    return Present(Observation(allocation_of(view.cluster), node_state(view, view.cluster, HEAD, now), workers, len(workers)))


def allocation_of(cluster: ClusterRecord) -> Allocation:
    return Allocation(
        kind=AllocationKind.LOCAL_PROCESSES,
        name=cluster.name,
        attempt=cluster.attempt,
        template_hash=cluster.template_hash,
        started_at=cluster.started_at,
    )


def node_state(view: View, cluster: ClusterRecord, node: str, now: datetime) -> NodeState:
    if node in view.launching and view.plan is not None:
        return NodeState(node, NodePhase.STARTING, view.plan.written_at, message=_doing(view, node))
    if must_launch_head(view) or view.given_up(node) or not view.started(node):
        return _not_started(view, cluster, node)
    dead = [view.parts[part] for part in parts_of(node) if part not in view.alive]
    if not dead:
        return NodeState(node, NodePhase.RUNNING, max(view.parts[part].started_at for part in parts_of(node)))
    since = min(record.died_at or now for record in dead)
    if worst := next((record for record in dead if record.quick_deaths >= GIVE_REASON_AFTER), None):
        return NodeState(node, NodePhase.FAILED, since, ClusterReason.START_FAILED, dying_message(worst))
    names = " and ".join(name_of(record.part) for record in dead)
    return NodeState(node, NodePhase.RECOVERING, since, ClusterReason.RECOVERING, f"{names} ended and is being started again")


def _doing(view: View, node: str) -> str:
    if view.progress is None:
        return "the launcher is being started"
    return view.progress.doing if view.progress.node == node else f"waits for {view.progress.node}: {view.progress.doing}"


def _not_started(view: View, cluster: ClusterRecord, node: str) -> NodeState:
    failure, plan = view.launch_failure, view.plan
    if failure and plan and failure.node == node:
        return NodeState(node, NodePhase.FAILED, plan.written_at, ClusterReason.START_FAILED, f"{failure.message}; it is tried again")
    since = plan.written_at if plan else cluster.started_at
    return NodeState(node, NodePhase.STARTING, since, message="it is about to be started")


def _suspended(view: View, cluster: ClusterRecord) -> NodeState:
    message = "its processes are being ended" if view.marked else "no process runs; set spec.suspend to false to start it"
    return NodeState(HEAD, NodePhase.FAILED, cluster.started_at, ClusterReason.SUSPENDED, message)


def _lost(name: str) -> Allocation:
    return Allocation(kind=AllocationKind.LOCAL_PROCESSES, name=name)


def _lost_head(now: datetime) -> NodeState:
    message = "its records were lost while it ran: what runs is ended, then it is started anew"
    return NodeState(HEAD, NodePhase.RECOVERING, now, ClusterReason.RECOVERING, message)
