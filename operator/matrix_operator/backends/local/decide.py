"""What to do next about a cluster's processes. Pure: a look goes in, steps come out; it may be asked again at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.journal import GCS, HEAD, HEAD_PARTS, LAUNCHER, RAYLET, PartRecord, name_of
from matrix_operator.backends.local.logs import last_words
from matrix_operator.backends.local.restart import GIVE_REASON_AFTER, backoff, is_due, noticed_dead
from matrix_operator.backends.local.view import View


@dataclass(frozen=True)
class EndEverything:
    """What is left of a start that did not get far, or has lost its directories."""


@dataclass(frozen=True)
class Launch:
    nodes: tuple[str, ...]
    attempt: int


@dataclass(frozen=True)
class Restart:
    record: PartRecord


@dataclass(frozen=True)
class Remember:
    """A part was found dead and has to wait."""

    record: PartRecord


@dataclass(frozen=True)
class EndWorker:
    """It is surplus, or its start failed (`record` None)."""

    name: str
    record: PartRecord | None = None


@dataclass(frozen=True)
class Refuse:
    reason: ClusterReason
    message: str


Step = EndEverything | Launch | Restart | Remember | EndWorker | Refuse


def decide(view: View, wanted: Iterable[str], now: datetime) -> list[Step]:
    """The steps towards exactly the `wanted` nodes (the head and workers) running."""
    if HEAD in view.launching:
        return []
    if must_launch_head(view):
        return [EndEverything()] if view.marked else list(_launch(view, tuple(wanted), now))
    head = [step for part in HEAD_PARTS for step in _revive(view, part, now)]
    return head + _workers(view, [node for node in wanted if node != HEAD], now)


def must_launch_head(view: View) -> bool:
    """Whether the head can't be had by starting single parts again."""
    return not view.started(HEAD) or view.session_lost or view.given_up(HEAD)


def _workers(view: View, wanted: list[str], now: datetime) -> list[Step]:
    steps: list[Step] = [EndWorker(part, view.parts[part]) for part in surplus(view, wanted)]
    if not {GCS, RAYLET} <= view.alive:
        return steps  # a worker's raylet needs the head's
    missing = []
    for name in wanted:
        if name in view.launching:
            continue
        if view.started(name) and not view.given_up(name):
            steps += _revive(view, name, now)
        else:
            steps += [EndWorker(name)] if name in view.marked else []
            missing.append(name)
    return steps + (list(_launch(view, tuple(missing), now)) if missing and LAUNCHER not in view.alive else [])


def surplus(view: View, wanted: list[str]) -> list[str]:
    """Workers that should not run, the last of a group first."""
    names = view.parts.keys() - set(HEAD_PARTS) - set(wanted) - view.launching
    return sorted(names, key=lambda name: (name.rpartition("-")[0], -int(name.rpartition("-")[2])))


def _launch(view: View, nodes: tuple[str, ...], now: datetime) -> Iterator[Step]:
    failure = view.launch_failure
    if failure is None or view.plan is None or failure.node not in nodes:
        yield Launch(nodes, attempt=1)
    elif is_due(view.plan.written_at, backoff(view.plan.attempt + view.given_up(failure.node)), now):  # one that was killed: no wait
        yield Launch(nodes, attempt=view.plan.attempt + 1)
    else:
        yield Refuse(ClusterReason.START_FAILED, f"{failure.node} did not start: {failure.message}; it is tried again")


def _revive(view: View, part: str, now: datetime) -> Iterator[Step]:
    if part in view.alive:
        return
    record = view.parts[part] if view.parts[part].died_at else noticed_dead(view.parts[part], now)
    if is_due(record.died_at or now, backoff(record.quick_deaths), now):
        yield Restart(record)
        return
    yield Remember(record)
    if record.quick_deaths >= GIVE_REASON_AFTER:
        yield Refuse(ClusterReason.START_FAILED, dying_message(record))


def dying_message(record: PartRecord) -> str:
    return f"{name_of(record.part)} ended {record.quick_deaths} times soon after its start: {last_words(record)}; it is tried again"
