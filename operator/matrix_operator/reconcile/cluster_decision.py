"""MatrixCluster: what to do next. Pure; the order of the checks is the order in which they matter."""

from __future__ import annotations

from datetime import datetime, timedelta

from matrix_crds.cluster import Allocation, AllocationKind, DeletionPolicy, MatrixCluster
from matrix_crds.constants import FINALIZER
from matrix_operator.looks import Unknown
from matrix_operator.ray_rest import ServeApplication
from matrix_operator.reconcile.renewal import pending_renewal
from matrix_operator.reconcile.start_failures import SERVE_GAVE_UP, pause_after
from matrix_operator.reconcile.steps import AddFinalizer, Ensure, LetGo, PutServe, RecordAllocation, Remove, Step
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import (
    SYSTEM_APPLICATION,
    Entry,
    SystemStart,
    application_name,
    foreign_entries,
    gateway_models,
    model_entry,
    system_entry,
    system_start,
)
from matrix_proto.state import APPLICATION_PREFIX

SUCCEEDED = timedelta(hours=1)
"""A start of mx-system so long ago, many times the longest pause, was none of those that fail in a row."""


def decide(view: ClusterView, kind: AllocationKind, now: datetime) -> tuple[Step, ...]:
    """The steps of this look. Empty: wait. `kind` is what the backend makes."""
    cluster = view.cluster
    if cluster.deleting:
        return _decide_deletion(cluster)
    held: tuple[Step, ...] = ()
    if FINALIZER not in cluster.metadata.finalizers:
        held = (AddFinalizer("so that nothing is left behind when the object is deleted"),)
    if isinstance(view.backend, Unknown):
        return held  # unknown is not gone: no step outside until a look succeeds
    if held:  # what is about to be made is written with the first status: still nothing outside
        return held + (_decide_allocation(view, kind, now) if cluster.status.allocation is None else ())
    return _decide_allocation(view, kind, now) or _decide_running(view, now)


def _decide_deletion(cluster: MatrixCluster) -> tuple[Step, ...]:
    if FINALIZER not in cluster.metadata.finalizers:
        return ()
    if cluster.spec.deletion_policy is DeletionPolicy.ORPHAN:
        return (LetGo("deletionPolicy is Orphan: what runs goes on running"),)
    return (Remove("the object is being deleted"),)


def _decide_allocation(view: ClusterView, kind: AllocationKind, now: datetime) -> tuple[Step, ...]:
    current = view.cluster.status.allocation
    if current is None:
        return (RecordAllocation("a first allocation", _allocation(view, kind, 1, now)),)
    renewal = pending_renewal(view)
    if renewal is None:
        return ()
    if view.backend_absent:  # also when the former template was refused, and nothing was made of it
        return (RecordAllocation(renewal.why, _allocation(view, kind, current.attempt + 1, now)),)
    return (Remove(renewal.why),) if renewal.wanted else ()


def _allocation(view: ClusterView, kind: AllocationKind, attempt: int, now: datetime) -> Allocation:
    return Allocation(
        kind=kind,
        name=view.allocation_name,
        attempt=attempt,
        template_hash=view.template_hash,
        restarted_at=view.cluster.spec.upgrade_policy.restarted_at,
        started_at=now.replace(microsecond=0),
    )


def _decide_running(view: ClusterView, now: datetime) -> tuple[Step, ...]:
    allocation = view.cluster.status.allocation
    assert allocation is not None
    ensure = Ensure("what is missing or dead is started", allocation)
    entries = changed_serve_entries(view, now)
    return (ensure, PutServe("the Serve applications differ from what is declared", entries)) if entries else (ensure,)


def changed_serve_entries(view: ClusterView, now: datetime) -> tuple[Entry, ...]:
    """The whole set of entries if it differs from what Serve has, else nothing. Nothing as well while Serve can't be asked."""
    if view.serve is None or view.layout is None or view.cluster.spec.suspend:
        return ()
    deployed = {name: app.deployed_app_config for name, app in view.serve.applications.items()}
    desired = desired_entries(view, deployed, _system_start(view.serve.applications.get(SYSTEM_APPLICATION), now))
    ours = {str(entry["name"]): entry for entry in desired}
    present = {name: entry for name, entry in deployed.items() if entry is not None}
    return () if ours == present else tuple(desired)


def _system_start(system: ServeApplication | None, now: datetime) -> SystemStart:
    """Which start of mx-system it is to be: another one when Serve has given up, the first time at once, then after longer and longer. It
    is measured from the last one: Serve's own stamp is that of the last PUT, whatever that changed. A clock that was set back makes it no
    longer."""
    start = system_start(system.deployed_app_config if system else None)
    if system is None or not SERVE_GAVE_UP.get(system.status, False):
        return start
    age = now - start.since if start.since else SUCCEEDED
    if timedelta(0) <= age < pause_after(start.attempt - 1):
        return start
    return SystemStart(start.attempt + 1 if age < SUCCEEDED else 2, now.replace(microsecond=0))


def desired_entries(view: ClusterView, deployed: dict[str, Entry | None], start: SystemStart) -> list[Entry]:
    """mx-system, the models, foreign applications; for what does not parse or was refused, by us or by Serve, the last accepted entry."""
    assert view.layout is not None
    unserved = (APPLICATION_PREFIX + key.name for key in view.selection.refused)
    held = {name for name in (*view.staying, *unserved) if deployed.get(name) is not None}
    told = [deployment for deployment in view.selection.serving if application_name(deployment) not in held]
    held_models = [model for model in gateway_models(deployed.get(SYSTEM_APPLICATION)) if model["application"] in held]
    wanted = [deployment for deployment in told if deployment.spec.replicas and application_name(deployment) not in view.staying]
    return [
        system_entry(view.layout, told, held_models, start),
        *foreign_entries(deployed),
        *(model_entry(deployment, view.layout) for deployment in wanted),
        *(entry for name, entry in deployed.items() if name in held and entry is not None),
    ]
