"""What the controller does next with a cluster: a table, and properties that must hold for every view."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_crds.cluster import AllocationKind, MatrixCluster
from matrix_crds.deployment import ModelDeployment
from matrix_crds.reasons import DeploymentReason
from matrix_operator.backends.port import NodePhase
from matrix_operator.looks import Absent, Unknown
from matrix_operator.ray_rest import ServeApplication
from matrix_operator.reconcile.cluster_decision import decide
from matrix_operator.reconcile.steps import AddFinalizer, Ensure, LetGo, PutServe, RecordAllocation, ReleaseFinalizer, Remove
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import SystemStart, entry_hash, model_entry, system_entry, system_start
from tests.unit.operator.builders import BEFORE, LAYOUT, NOW, accepted, cluster, deployment, ray, running, view

LOCAL = AllocationKind.LOCAL_PROCESSES
M = deployment()
RECREATE = {"upgradePolicy": {"type": "Recreate"}}
RESTARTED_AT = "2026-06-01T11:30:00Z"
RESTART = {"upgradePolicy": {"restartedAt": RESTARTED_AT}}


def taken(of: MatrixCluster) -> MatrixCluster:
    """The cluster, with the restart remembered."""
    assert of.status.allocation is not None
    allocation = of.status.allocation.model_copy(update={"restarted_at": datetime.fromisoformat(RESTARTED_AT)})
    return of.model_copy(update={"status": of.status.model_copy(update={"allocation": allocation})})


TABLE: list[tuple[str, ClusterView, list[type]]] = [
    ("the finalizer comes before anything outside", view(cluster(finalizer=False), Absent()), [AddFinalizer]),
    ("with it what will be made", view(cluster(finalizer=False, allocated=False), Absent()), [AddFinalizer, RecordAllocation]),
    ("but not unseen", view(cluster(finalizer=False, allocated=False), Unknown("time-out")), [AddFinalizer]),
    ("the allocation is recorded before it is made", view(cluster(allocated=False), Absent()), [RecordAllocation]),
    ("then it is made", view(backend=Absent()), [Ensure]),
    ("nothing at all while the backend can't be seen", view(backend=Unknown("time-out")), []),
    ("Serve is left alone while it can't be asked", view(ray=ray({}, serve=Unknown("time-out"))), [Ensure]),
    ("mx-system is deployed first of all", view(ray=ray({})), [Ensure, PutServe]),
    ("a new model changes the configuration", view(ray=ray(accepted()), deployments=(M,)), [Ensure, PutServe]),
    ("what Serve has already is not sent again", view(ray=ray(accepted(M)), deployments=(M,)), [Ensure]),
    ("a model that went is taken out", view(ray=ray(accepted(M))), [Ensure, PutServe]),
    ("a model that no longer parses stays", view(ray=ray(accepted(M)), unreadable=frozenset({"m"})), [Ensure]),
    ("a deleted cluster is removed", view(cluster(deleting=True)), [Remove]),
    ("a deleted cluster without our finalizer is not ours to touch", view(cluster(deleting=True, finalizer=False)), []),
    ("deletionPolicy Orphan only lets go", view(cluster({"deletionPolicy": "Orphan"}, deleting=True)), [LetGo]),
    ("a changed template is held back", view(template_hash="h2"), [Ensure]),
    ("but not when nothing was made of the former one", view(backend=Absent(), template_hash="h2"), [RecordAllocation]),
    ("until it is asked for", view(cluster(RESTART), template_hash="h2"), [Remove]),
    ("a restart that was asked for needs no change", view(cluster(RESTART)), [Remove]),
    ("and is recorded when nothing is left", view(cluster(RESTART), Absent()), [RecordAllocation]),
    ("so that it happens once", view(taken(cluster(RESTART))), [Ensure]),
    ("a change after it is held back again", view(taken(cluster(RESTART)), template_hash="h2"), [Ensure]),
    ("a restart that the manifest no longer has happens once as well", view(taken(cluster())), [Ensure]),
    ("nothing is restarted unseen", view(cluster(RESTART), Unknown("time-out")), []),
    ("or the cluster is made anew", view(cluster(RECREATE), template_hash="h2"), [Remove]),
    ("with a new attempt once nothing is left", view(cluster(RECREATE), Absent(), template_hash="h2"), [RecordAllocation]),
    ("a suspended cluster gets no Serve configuration", view(cluster({"suspend": True}), ray=ray({})), [Ensure]),
]


@pytest.mark.parametrize(("seen", "steps"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_decision(seen: ClusterView, steps: list[type]) -> None:
    assert [type(step) for step in decide(seen, LOCAL, NOW)] == steps


def names(seen: ClusterView) -> list[str]:
    [put] = [step for step in decide(seen, LOCAL, NOW) if isinstance(step, PutServe)]
    return sorted(entry["name"] for entry in put.entries)


def test_foreign_applications_are_carried_over_unchanged() -> None:
    foreign = {"name": "theirs", "route_prefix": "/x", "import_path": "a:b"}
    applications = accepted() | {"theirs": ServeApplication(name="theirs", status="RUNNING", deployed_app_config=foreign)}
    seen = view(ray=ray(applications), deployments=(M,))
    assert names(seen) == ["mx-md-m", "mx-system", "theirs"]
    put = decide(seen, LOCAL, NOW)[-1]
    assert isinstance(put, PutServe)
    assert foreign in put.entries


def test_of_two_deployments_with_one_served_name_the_older_gets_the_application() -> None:
    younger = deployment("a", {"model": {"source": "file:///x", "servedName": "m"}}, created=NOW)
    assert names(view(ray=ray(accepted()), deployments=(younger, M))) == ["mx-md-m", "mx-system"]


def test_a_name_stays_with_who_has_it_and_what_runs_of_who_wants_it_stays_as_well() -> None:
    """One slip of the pen takes nobody down."""
    renamed = deployment("older", {"model": {"source": "file:///x", "servedName": "m"}}, created=BEFORE - timedelta(days=1))
    before = accepted(deployment("older", {"model": {"source": "file:///x"}}), M)
    assert decide(view(ray=ray(before), deployments=(renamed, M)), LOCAL, NOW)[1:] == ()
    assert set(view(ray=ray(before), deployments=(renamed, M)).selection.refused) == {renamed.key}


def test_a_name_stays_with_who_has_it_also_while_serve_can_not_be_asked() -> None:
    """By what was said of it when Serve answered last: nobody is told that the name it serves under is taken."""
    answers = {"endpoints": [{"name": "openai", "url": "http://127.0.0.1:9002/v1", "scope": "Machine"}]}
    has = deployment("younger", {"model": {"source": "file:///x", "servedName": "m"}}, created=NOW, model="m", **answers)
    renamed = deployment("older", {"model": {"source": "file:///x", "servedName": "m"}}, model="older", **answers)
    seen = view(ray=ray({}, serve=Unknown("time-out")), deployments=(renamed, has))
    assert set(seen.selection.refused) == {renamed.key}


def test_who_was_refused_a_name_stays_behind_when_serve_has_lost_what_it_knew() -> None:
    refusal = {"type": "Ready", "status": "False", "reason": "NameTaken", "lastTransitionTime": BEFORE.isoformat()}
    spec = {"model": {"source": "file:///x", "servedName": "m"}}
    waits = deployment("older", spec, created=BEFORE - timedelta(days=1), conditions=[refusal])
    assert names(view(ray=ray(accepted()), deployments=(waits, M))) == ["mx-md-m", "mx-system"]
    assert names(view(ray=ray(accepted()), deployments=(waits,))) == ["mx-md-older", "mx-system"]


def named(name: str, served: str, **spec: Any) -> ModelDeployment:
    return deployment(name, {"model": {"source": "file:///x", "servedName": served}} | spec)


CHAT, OTHER = named("a", "chat"), named("b", "other")
UNBUILT, TO_TAKEN, TO_NEW = named("a", "chat", autoscale={"min": 1, "max": 3}), named("a", "other"), named("a", "chat2")
HELD: list[tuple[str, tuple[ModelDeployment, ...], dict[str, Any]]] = [
    ("does not parse", (OTHER,), {"unreadable": frozenset({"a"})}),
    ("is not built", (OTHER, UNBUILT), {}),
    ("wants a name that is taken", (OTHER, TO_TAKEN), {}),
    ("was refused by Serve", (OTHER, TO_NEW), {"rejections": {entry_hash(model_entry(TO_NEW, LAYOUT)): "no"}}),
]


@pytest.mark.parametrize(("others", "how"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
@pytest.mark.parametrize("created", [BEFORE - timedelta(days=1), NOW], ids=["older", "newer"])
def test_what_runs_keeps_its_name_while_its_manifest_can_not_be_obeyed(
    others: tuple[ModelDeployment, ...], how: dict[str, Any], created: datetime
) -> None:
    """Else its replicas would keep their GPUs for nobody, and the name be taken once the manifest is mended."""
    wants = deployment("c", {"model": {"source": "file:///x", "servedName": "chat"}}, created=created)
    seen = view(ray=ray(accepted(CHAT, OTHER)), deployments=(*others, wants), **how)
    assert decide(seen, LOCAL, NOW)[1:] == ()
    refusal = seen.selection.refused[wants.key]
    assert refusal.reason == DeploymentReason.NAME_TAKEN and "served by ModelDeployment/a already" in refusal.message


def test_a_name_is_free_with_the_same_look_that_gives_its_holder_another() -> None:
    """So that two models change places in one step."""
    seen = view(ray=ray(accepted(CHAT, OTHER)), deployments=(named("a", "other"), named("b", "chat")))
    assert seen.selection.refused == {}


def test_what_runs_stays_when_it_is_changed_to_something_that_is_not_built() -> None:
    changed = deployment(spec={"autoscale": {"min": 1, "max": 3}})
    assert decide(view(ray=ray(accepted(M)), deployments=(changed,)), LOCAL, NOW)[1:] == ()


def test_a_refused_entry_is_replaced_by_the_one_accepted_before() -> None:
    edited = deployment(spec={"engine": {"dummy": {"seed": 7}}})
    refused = {entry_hash(model_entry(edited, LAYOUT)): "no"}
    assert decide(view(ray=ray(accepted(M)), deployments=(edited,), rejections=refused), LOCAL, NOW)[1:] == ()


def test_the_gateway_serves_a_refused_model_under_the_name_accepted_before() -> None:
    renamed = deployment(spec={"model": {"source": "file:///models/m", "servedName": "other"}})
    refused = {entry_hash(model_entry(renamed, LAYOUT)): "no"}
    assert decide(view(ray=ray(accepted(M)), deployments=(renamed,), rejections=refused), LOCAL, NOW)[1:] == ()


def test_a_recreated_cluster_counts_its_attempts() -> None:
    [step] = decide(view(cluster(RECREATE), Absent(), template_hash="h2"), LOCAL, NOW + timedelta(days=1))
    assert isinstance(step, RecordAllocation)
    assert (step.allocation.attempt, step.allocation.template_hash) == (2, "h2")


def test_a_restart_is_remembered_with_the_allocation() -> None:
    for at in (None, view(cluster(RESTART), Absent())):
        [step] = decide(at or view(cluster(RESTART, allocated=False), Absent()), LOCAL, NOW)
        assert isinstance(step, RecordAllocation)
        assert step.allocation.restarted_at == datetime.fromisoformat(RESTARTED_AT)


looks = st.sampled_from([Absent(), Unknown("?"), running(), running(NodePhase.STARTING), running(NodePhase.FAILED)])
clusters = st.builds(
    cluster,
    st.sampled_from([{}, RECREATE, RESTART, {"suspend": True}, {"deletionPolicy": "Orphan"}]),
    allocated=st.booleans(),
    finalizer=st.booleans(),
    deleting=st.booleans(),
)
rays = st.sampled_from([None, ray({}), ray(accepted(M)), ray(accepted(M), serve=Unknown("?")), ray({}, state=Unknown("?"))])
views = st.builds(view, clusters, looks, ray=rays, template_hash=st.sampled_from(["h1", "h2"]), deployments=st.sampled_from([(), (M,)]))


@given(views)
def test_nothing_is_removed_on_a_failed_look_unless_the_user_deletes(seen: ClusterView) -> None:
    steps = decide(seen, LOCAL, NOW)
    if isinstance(seen.backend, Unknown) and not seen.cluster.deleting:
        assert not any(isinstance(step, Remove | ReleaseFinalizer | Ensure | PutServe | RecordAllocation) for step in steps)


@given(views)
def test_nothing_outside_is_touched_before_the_finalizer_is_stored(seen: ClusterView) -> None:
    if "matrix.dev/teardown" not in seen.cluster.metadata.finalizers:
        assert all(isinstance(step, AddFinalizer | RecordAllocation) for step in decide(seen, LOCAL, NOW))


@given(views)
def test_serve_is_never_written_on_a_failed_look_at_it(seen: ClusterView) -> None:
    if seen.serve is None:
        assert not any(isinstance(step, PutServe) for step in decide(seen, LOCAL, NOW))


@given(views)
def test_the_same_view_gives_the_same_decision(seen: ClusterView) -> None:
    assert decide(seen, LOCAL, NOW) == decide(seen, LOCAL, NOW)


def given_up(start: SystemStart, status: str = "DEPLOY_FAILED", deployments: tuple[ModelDeployment, ...] = (M,)) -> ClusterView:
    """A cluster whose mx-system is in that state, deployed with M."""
    system = ServeApplication(name="mx-system", status=status, deployed_app_config=system_entry(LAYOUT, [M], start=start))
    return view(ray=ray(accepted(M) | {"mx-system": system}), deployments=deployments)


def started(seen: ClusterView) -> SystemStart | None:
    """The start of mx-system that is asked for, if anything is."""
    puts = [step for step in decide(seen, LOCAL, NOW) if isinstance(step, PutServe)]
    return system_start(puts[0].entries[0]) if puts else None


@pytest.mark.parametrize(
    ("attempt", "pause", "next_one"),
    [(2, 9, None), (2, 10, 3), (4, 39, None), (4, 40, 5), (30, 599, None), (30, 600, 31), (30, 3599, 31), (30, 3600, 2), (2, -5, 3)],
)
def test_mx_system_is_started_again_when_serve_has_given_up_on_it(attempt: int, pause: float, next_one: int | None) -> None:
    """The same configuration would not: the cluster would be without a directory until somebody changes something. What else was PUT
    meanwhile does not count, and who has run for long begins anew."""
    asked = started(given_up(SystemStart(attempt, NOW - timedelta(seconds=pause))))
    assert asked == (SystemStart(next_one, NOW) if next_one else None)


def test_the_first_time_it_is_started_again_at_once() -> None:
    assert started(given_up(SystemStart())) == SystemStart(2, NOW)


def test_a_start_of_mx_system_stays_what_it_is_once_it_runs() -> None:
    start = SystemStart(4, BEFORE)
    assert started(given_up(start, "RUNNING")) is None
    assert started(given_up(start, "RUNNING", deployments=())) == start
