"""Why an object is not as wanted: the chain of causes, from the object down to the first thing that is wrong.

Pure: a snapshot goes in, links come out. Each names its subject and says in plain words what is so; the last ones say what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matrix_cli.remedies import remedy_for
from matrix_cli.suggestions import hint
from matrix_client.verdict import condition, is_current
from matrix_crds.keys import ObjectKey
from matrix_store.port import Raw, StoredObject

ON_THE_CLUSTER = frozenset({"ClusterNotReady", "ClusterNotFound", "StateUnknown"})
"""Reasons of a deployment whose cause lies with its cluster."""


@dataclass(frozen=True)
class Controller:
    """The controller, as its lock shows it."""

    running: bool
    description: str = ""
    """Such as "process 4711"."""
    beating: bool = True
    """Whether its heartbeat moves."""


@dataclass(frozen=True)
class Operator:
    """The operator of a Kubernetes cluster, as its Lease shows it."""

    running: bool
    words: str
    """Which it is, or what is wrong."""


@dataclass(frozen=True)
class OrphanedRay:
    """A Ray of ours whose state directory is lost."""

    uid: str
    home: str
    """The state directory that it was recorded in."""
    what: str
    """Its parts in words."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that the chain may speak of."""

    objects: Mapping[ObjectKey, StoredObject]
    controller: Controller | Operator | None
    """None where it is not known from here whether one runs."""
    orphans: Sequence[OrphanedRay] = ()


@dataclass(frozen=True)
class Link:
    """One step of the chain."""

    subject: str
    statement: str
    remedy: str = ""
    """What to do, "" when the cause lies further down or nothing needs doing but to wait."""
    healthy: bool = False
    beside: bool = False
    """It stands beside the chain, not below the link before it."""


def explain(key: ObjectKey, snapshot: Snapshot) -> tuple[Link, ...]:
    """The chain for one object. One healthy link when all is well."""
    stored = snapshot.objects.get(key)
    chain = tuple(_missing(key, snapshot) if stored is None else _object(stored, snapshot))
    settled = all(link.healthy for link in chain)
    managed = any(other.kind == "MatrixCluster" for other in snapshot.objects) or not settled
    known = snapshot.controller if stored is not None and managed else None
    controller = _controller(known, settled=settled) if known is not None else ()
    return (*chain, *controller, *map(orphan_link, snapshot.orphans))


def is_ready(stored: StoredObject) -> bool:
    """Whether nothing is left to do for it."""
    ready = condition(stored.raw, "Ready")
    return not stored.deleting and ready is not None and ready["status"] == "True" and is_current(stored.raw, ready)


def _missing(key: ObjectKey, snapshot: Snapshot) -> Iterator[Link]:
    yield Link(str(key), "does not exist", hint(key, list(snapshot.objects)))


def _object(stored: StoredObject, snapshot: Snapshot) -> Iterator[Link]:
    name, ready = str(stored.key), condition(stored.raw, "Ready")
    if stored.deleting:
        yield _deleting(stored, ready)
    elif ready is None:
        yield Link(name, "was not looked at by the controller yet")
    elif not is_current(stored.raw, ready):
        yield Link(name, "was changed, and the controller has not looked at the change yet")
    elif ready["status"] == "True":
        yield Link(name, f"is ready: {_message(ready)}" if _message(ready) else "is ready", healthy=True)
        yield from _held_back(stored)
    elif stored.key.kind == "ModelDeployment" and ready["reason"] in ON_THE_CLUSTER:
        yield from _on_its_cluster(stored, ready, snapshot)
    else:
        yield Link(name, f"{_state(ready)}: {_message(ready)}", remedy_for(stored.key, ready["reason"]))


def _on_its_cluster(stored: StoredObject, ready: Raw, snapshot: Snapshot) -> Iterator[Link]:
    """A deployment whose cause lies with its cluster, and then the cluster."""
    key = ObjectKey("MatrixCluster", stored.key.namespace, stored.raw["spec"]["clusterRef"]["name"])
    cluster = snapshot.objects.get(key)
    if cluster is not None and is_ready(cluster):
        yield Link(str(stored.key), f"{_state(ready)}: {_message(ready)}")
        return
    yield Link(str(stored.key), f"{_state(ready)}: it needs {key}")
    if cluster is None:
        yield Link(str(key), "does not exist", remedy_for(stored.key, "ClusterNotFound"))
    else:
        yield from _object(cluster, snapshot)


def _deleting(stored: StoredObject, ready: Raw | None) -> Link:
    speaks = ready is not None and str(ready["reason"]).startswith("Delet")
    told = _message(ready) if ready and speaks else ""
    stuck = ready is not None and ready["reason"] == "DeletionStuck"
    remedy = remedy_for(stored.key, "DeletionStuck") if stuck else ""
    return Link(str(stored.key), f"is being deleted: {told or 'waiting for confirmation that nothing of it is left'}", remedy)


def _held_back(stored: StoredObject) -> Iterator[Link]:
    """A change of the spec that waits does not make the object less ready."""
    found = condition(stored.raw, "UpToDate")
    if found is not None and found["status"] == "False":
        yield Link(
            str(stored.key),
            f"is not up to date ({found['reason']}): {_message(found)}",
            remedy_for(stored.key, found["reason"]),
            beside=True,
        )


def _state(ready: Raw) -> str:
    words = "is not known to be ready" if ready["status"] == "Unknown" else "is not ready"
    return f"{words} ({ready['reason']})"


def _message(found: Raw) -> str:
    return str(found.get("message", "")).strip()


def orphan_link(orphan: OrphanedRay) -> Link:
    """What is to be said of such a Ray, and the command that ends it."""
    record = f"its record in {orphan.home}" if orphan.home else "its record"
    statement = f"still runs ({orphan.what}), but {record} is lost: it holds CPUs, memory and ports"
    remedy = f"end it with `matrix controller end-orphan {orphan.uid}`"
    return Link(f"the Ray of a former cluster ({orphan.uid})", statement, remedy, beside=True)


def _controller(controller: Controller | Operator, *, settled: bool) -> Iterator[Link]:
    consequence = "what runs goes on, but nothing heals or changes" if settled else "nobody works on this"
    if isinstance(controller, Operator):
        if not controller.running:
            remedy = "start it, or ask whoever runs the cluster to (`matrix operator run`)"
            yield Link("the operator", f"is not running: {controller.words}; {consequence}", remedy, beside=True)
    elif not controller.running:
        yield Link("the controller", f"is not running: {consequence}", "start it with `matrix controller run --detach`", beside=True)
    elif not controller.beating:
        statement = f"({controller.description}) gives no sign of life: it hangs, or is stopped"
        remedy = "look at `matrix logs controller`; then `matrix controller stop` and `matrix controller run --detach`"
        yield Link("the controller", statement, remedy, beside=True)
