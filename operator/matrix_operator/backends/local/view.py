"""What there is of a cluster: the journal's files beside the living processes that carry its marker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matrix_operator.backends.local.journal import (
    HEAD,
    HEAD_PARTS,
    LAUNCHER,
    ClusterRecord,
    Journal,
    LaunchFailure,
    LaunchPlan,
    LaunchState,
    PartRecord,
)
from matrix_operator.backends.local.places import session_directory
from matrix_operator.backends.local.procfs import MarkedProcess, Processes
from matrix_store.process_identity import ProcessIdentity


@dataclass(frozen=True)
class View:
    """One look. A part is alive if its own process runs, not only something that it left behind."""

    cluster: ClusterRecord | None = None
    plan: LaunchPlan | None = None
    launch: LaunchState | None = None
    parts: Mapping[str, PartRecord] = field(default_factory=dict)
    """How each part is started, by name; also rebuilt from a living process whose record was lost."""
    alive: frozenset[str] = frozenset()
    """The parts whose own process runs; LAUNCHER is one of them."""
    identities: tuple[ProcessIdentity, ...] = ()
    """Of the processes of the parts that are alive."""
    marked: frozenset[str] = frozenset()
    """The parts of which any process runs."""
    session_lost: bool = False
    """Ray's directories are gone: parts can't be started again one by one."""

    @property
    def launching(self) -> frozenset[str]:
        """The nodes that the launcher has in hand now: it goes by the order of its plan, those before the one it is at are up."""
        if self.plan is None or LAUNCHER not in self.alive or (self.progress and self.progress.finished):
            return frozenset()
        order = [node.name for node in self.plan.nodes]
        return frozenset(order[order.index(self.progress.node) :] if self.progress else order)

    @property
    def launch_failure(self) -> LaunchFailure | None:
        """Why the last launch ended without having come to its end; None if it did, still runs, or there was none."""
        if self.plan is None or LAUNCHER in self.alive:
            return None
        state = self.progress
        if state is None:
            return LaunchFailure(node=self.plan.nodes[0].name, message="the launcher ended before it could say anything")
        if state.failure is None and not state.finished:
            return LaunchFailure(node=state.node, message=f"the launcher was ended while {state.doing}")
        return state.failure

    @property
    def progress(self) -> LaunchState | None:
        """What the launcher of the present plan reported last."""
        return self.launch if self.plan and self.launch and self.launch.written_at == self.plan.written_at else None

    def given_up(self, node: str) -> bool:
        """Whether the launcher itself gave that node up. (One that was killed says nothing: what it started may be all there.)"""
        state = self.progress
        return state is not None and state.failure is not None and state.failure.node == node and LAUNCHER not in self.alive

    def started(self, node: str) -> bool:
        """Whether every part of the node was started once: from then on parts are started again one by one."""
        return all(part in self.parts for part in parts_of(node))


def parts_of(node: str) -> tuple[str, ...]:
    return HEAD_PARTS if node == HEAD else (node,)


def look(journal: Journal, processes: Processes, uid: str) -> View:
    """Raises JournalUnreadable, ProcessesUnreadable."""
    cluster = journal.cluster()
    by_part = _by_part(processes.marked(uid))
    own = {part: main for part, found in by_part.items() if (main := _own_process(part, found)) is not None}
    parts = journal.parts()
    rebuilt = {part: _rebuilt(part, own[part], cluster) for part in own.keys() - parts.keys() - {LAUNCHER}} if cluster else {}
    return View(
        cluster=cluster,
        plan=journal.plan(),
        launch=journal.launch(),
        parts=parts | rebuilt,
        alive=frozenset(own),
        identities=tuple(main.identity for main in own.values()),
        marked=frozenset(by_part),
        session_lost=cluster is None or session_directory(Path(cluster.directory)) is None,
    )


def _by_part(marked: list[MarkedProcess]) -> dict[str, list[MarkedProcess]]:
    found: dict[str, list[MarkedProcess]] = defaultdict(list)
    for process in marked:
        found[process.part].append(process)
    return found


def _own_process(part: str, found: list[MarkedProcess]) -> MarkedProcess | None:
    """That which was started as the part, among all that descends from it."""
    return next((process for process in found if process.leads_session and is_part(part, process.argv)), None)


def is_part(part: str, argv: tuple[str, ...]) -> bool:
    """Whether a process with that argv is the part itself."""
    executable = Path(argv[0]).name if argv else ""
    match part:
        case "gcs":
            return executable == "gcs_server"
        case "dashboard":
            return any(argument.endswith("dashboard/dashboard.py") for argument in argv)
        case "launcher":
            return any(argument.endswith("local.launcher") or argument.endswith("local/launcher.py") for argument in argv)
        case _:
            return executable == "raylet"


def _rebuilt(part: str, process: MarkedProcess, cluster: ClusterRecord) -> PartRecord:
    return PartRecord(part=part, argv=process.argv, started_at=cluster.started_at)
