"""Why an object is not as wanted: the chain of causes, from the object down to the first thing that is wrong.

Pure: a snapshot goes in, links come out. Each link names its subject, says in plain words what is so, and the last ones what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matrix_cli.remedies import remedy_for
from matrix_cli.suggestions import hint
from matrix_client.verdict import condition, is_current
from matrix_crds.keys import ObjectKey
from matrix_store.port import Raw, StoredObject


@dataclass(frozen=True)
class Controller:
    """The controller, as its lock shows it."""

    running: bool
    description: str = ""
    """Such as "process 4711"."""
    beating: bool = True
    """Whether its heartbeat moves."""


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
    controller: Controller
    orphans: Sequence[OrphanedRay] = ()


@dataclass(frozen=True)
class Link:
    """One step of the chain."""

    subject: str
    statement: str
    remedy: str = ""
    """What to do, "" when the cause lies further down or nothing needs doing."""
    healthy: bool = False


def explain(key: ObjectKey, snapshot: Snapshot) -> tuple[Link, ...]:
    """The chain for one object; the last link with a remedy is where to act. One healthy link when all is well."""
    stored = snapshot.objects.get(key)
    links = list(_missing(key, snapshot)) if stored is None else list(_object(stored, snapshot))
    if stored is not None and all(link.healthy for link in links):
        links += _controller(snapshot.controller, settled=True)
    elif stored is not None or snapshot.orphans:
        links += _controller(snapshot.controller, settled=stored is None)
    return (*links, *map(_orphan, snapshot.orphans))


def is_ready(stored: StoredObject) -> bool:
    """Whether nothing is left to do for it."""
    ready = condition(stored.raw, "Ready")
    return not stored.deleting and ready is not None and ready["status"] == "True" and is_current(stored.raw, ready)


def _missing(key: ObjectKey, snapshot: Snapshot) -> Iterator[Link]:
    yield Link(str(key), "does not exist", hint(key, list(snapshot.objects)))


def _object(stored: StoredObject, snapshot: Snapshot) -> Iterator[Link]:
    ready = condition(stored.raw, "Ready")
    if stored.deleting:
        yield from _deleting(stored, ready)
    elif ready is None:
        yield Link(str(stored.key), "the controller has not looked at it yet")
    elif not is_current(stored.raw, ready):
        yield Link(str(stored.key), "was changed, and the controller has not looked at the change yet")
    elif ready["status"] == "True":
        yield Link(str(stored.key), f"is ready: {_words(ready) or stored.raw['status'].get('summary', '')}".rstrip(": "), healthy=True)
    else:
        yield from _not_ready(stored, ready, snapshot)


def _deleting(stored: StoredObject, ready: Raw | None) -> Iterator[Link]:
    reason = str((ready or {}).get("reason", ""))
    words = _words(ready) if reason.startswith("Delet") else ""
    remedy = remedy_for(stored.key, "DeletionStuck") if reason == "DeletionStuck" else ""
    yield Link(str(stored.key), f"is being deleted: {words or 'waiting for confirmation that nothing of it is left'}", remedy)


def _not_ready(stored: StoredObject, ready: Raw, snapshot: Snapshot) -> Iterator[Link]:
    """The object itself, then what its Ready condition sums up, then what it depends on."""
    deeper = [c for c in _unhappy(stored) if c["type"] != "Ready"]
    cluster_link = ready.get("reason") in {"ClusterNotReady", "ClusterNotFound", "StateUnknown"}
    follows = bool(deeper) or cluster_link
    yield Link(str(stored.key), _not_ready_words(ready), "" if follows else remedy_for(stored.key, ready["reason"]))
    for found in deeper:
        if not (cluster_link and found["type"] == "ClusterReady"):
            yield Link(f"{stored.key} {found['type']}", _not_ready_words(found), remedy_for(stored.key, found["reason"]))
    if stored.key.kind == "ModelDeployment" and cluster_link:
        yield from _cluster_of(stored, snapshot)


def _cluster_of(stored: StoredObject, snapshot: Snapshot) -> Iterator[Link]:
    key = ObjectKey("MatrixCluster", stored.key.namespace, stored.raw["spec"]["clusterRef"]["name"])
    cluster = snapshot.objects.get(key)
    yield from _missing(key, snapshot) if cluster is None else _object(cluster, snapshot)


def _unhappy(stored: StoredObject) -> list[Raw]:
    """The conditions that are not True, of the current spec, each reason once."""
    seen: set[tuple[str, str]] = set()
    found = []
    for item in stored.raw.get("status", {}).get("conditions", ()):
        told = (str(item.get("reason")), str(item.get("message")))
        if item.get("status") != "True" and is_current(stored.raw, item) and told not in seen:
            found.append(item)
            seen.add(told)
    return found


def _not_ready_words(found: Raw) -> str:
    state = "is not known" if found["status"] == "Unknown" else "is not ready" if found["type"] == "Ready" else "is not true"
    return f"{state} ({found['reason']}): {_words(found)}" if _words(found) else f"{state} ({found['reason']})"


def _words(found: Raw | None) -> str:
    return str((found or {}).get("message", "")).strip()


def _orphan(orphan: OrphanedRay) -> Link:
    statement = (
        f"still runs ({orphan.what}), but its record in {orphan.home or 'a state directory'} is lost: it holds CPUs, memory and ports"
    )
    return Link(f"a Ray of cluster {orphan.uid}", statement, f"end it with `matrix controller end-orphan {orphan.uid}`")


def _controller(controller: Controller, *, settled: bool) -> Iterator[Link]:
    if not controller.running:
        statement = "is not running: " + ("what runs goes on, but nothing heals or changes" if settled else "nobody works on this")
        yield Link("controller", statement, "start it with `matrix controller run --detach`")
    elif not controller.beating:
        statement = f"({controller.description}) gives no sign of life: it hangs, or is stopped"
        yield Link(
            "controller", statement, "look at `matrix logs controller`; then `matrix controller stop` and `matrix controller run --detach`"
        )
