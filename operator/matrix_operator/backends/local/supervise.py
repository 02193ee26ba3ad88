"""Carrying out the steps: the only place that starts or ends processes of a living cluster."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_operator.backends.local.checks import check_supported
from matrix_operator.backends.local.decide import EndEverything, EndWorker, Launch, Refuse, Remember, Restart, Step, decide
from matrix_operator.backends.local.ending import Shutdown, kill_all, send_all
from matrix_operator.backends.local.environment import process_environment
from matrix_operator.backends.local.journal import DASHBOARD, GCS, ClusterRecord, Journal, PartRecord
from matrix_operator.backends.local.launching import decide_cluster, launch
from matrix_operator.backends.local.ports import require_free
from matrix_operator.backends.local.procfs import Processes
from matrix_operator.backends.local.restart import is_due, sockets, with_fresh_node_id
from matrix_operator.backends.local.spawning import Children, spawn
from matrix_operator.backends.local.template import all_nodes, wanted_numbers
from matrix_operator.backends.local.view import View, is_part, look
from matrix_operator.backends.port import BackendRefusal
from matrix_store.home import Home

PATIENCE_SECONDS = 2.0
"""How long one step waits for processes that it ended; the next one goes on."""
_WORKER_GRACE = timedelta(seconds=10)


class Supervisor:
    """Brings one cluster a step nearer to what is wanted. Blocking: called in a thread."""

    def __init__(
        self,
        home: Home,
        processes: Processes,
        shutdown: Shutdown,
        children: Children,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._processes = processes
        self._shutdown = shutdown
        self._children = children
        self._environ = environ
        self._clock = clock
        self._deciding = threading.Lock()
        """Ports and GPUs are given out to one cluster at a time."""

    def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        """Raises BackendRefusal, JournalUnreadable, ProcessesUnreadable, OSError."""
        self._children.reap()
        uid = cluster.metadata.uid
        journal = Journal(self._home, uid)
        if cluster.spec.suspend:
            self._suspend(journal, uid)
            return
        view = look(journal, self._processes, uid)
        record = view.cluster
        if record is None or record.attempt != desired.attempt:  # a new attempt means nodes made anew, from the spec as it is now
            with self._deciding:
                record = decide_cluster(cluster, desired, self._home, self._environ, self._clock())  # refuses before anything is ended
                if not self._clear(journal, uid):
                    return
                journal.put(record)
            view = look(journal, self._processes, uid)
        workers = wanted_numbers(cluster.spec, record.template, record.workers)
        if workers != record.workers:
            record = record.model_copy(update={"workers": workers})
            journal.put(record)
        wanted = all_nodes(record.template, record.workers)
        self._carry_out(decide(view, wanted, self._clock()), view, record, journal, cluster)

    def _carry_out(self, steps: list[Step], view: View, record: ClusterRecord, journal: Journal, cluster: MatrixCluster) -> None:
        refusals: list[BackendRefusal] = []
        for step in steps:
            try:
                self._step(step, view, record, journal, cluster)
            except BackendRefusal as refusal:
                refusals.append(refusal)  # one part's trouble does not keep the others down
        if refusals:
            raise refusals[0]
        check_supported(cluster.spec)

    def _step(self, step: Step, view: View, record: ClusterRecord, journal: Journal, cluster: MatrixCluster) -> None:
        match step:
            case Refuse(reason, message):
                raise BackendRefusal(reason, message)
            case Remember(part):
                journal.put(part)
            case EndEverything():
                self._end(record.uid)
            case Restart(part):
                self._restart(part, record, journal)
            case EndWorker(name, part):
                self._end_worker(name, part, view, record, journal)
            case Launch(nodes, attempt):
                self._launch(nodes, attempt, view, record, cluster)

    def _launch(self, nodes: tuple[str, ...], attempt: int, view: View, record: ClusterRecord, cluster: MatrixCluster) -> None:
        check_supported(cluster.spec)
        templates = all_nodes(record.template, record.workers)
        running = {name: node for name, node in templates.items() if name not in nodes and view.started(name)}
        starting = {name: templates[name] for name in nodes}
        with self._deciding:
            launch(record, starting, running, attempt, environ=self._environ, children=self._children, now=self._clock())

    def _restart(self, part: PartRecord, record: ClusterRecord, journal: Journal) -> None:
        if self._end(record.uid, part.part):
            return  # what the dead one left behind does not end yet
        for use, port in ((GCS, record.ports.gcs), (DASHBOARD, record.ports.dashboard)):
            if part.part == use:
                require_free(port, use)
        for socket in sockets(part.argv):
            socket.unlink(missing_ok=True)
        again = part.model_copy(update={"argv": with_fresh_node_id(part.argv), "started_at": self._clock(), "died_at": None})
        journal.put(again)
        environment = process_environment(record, journal, part.part, self._environ) | again.environment
        self._children.add(spawn(again.argv, environment, Path(record.directory)))

    def _end_worker(self, name: str, part: PartRecord | None, view: View, record: ClusterRecord, journal: Journal) -> None:
        """Ask its raylet, and when that has gone, or does not go, end what is left."""
        if part is None or name not in view.alive or (part.ending_since and is_due(part.ending_since, _WORKER_GRACE, self._clock())):
            if not self._end(record.uid, name):
                journal.forget(name)
        elif part.ending_since is None:
            raylet = [p for p in self._processes.marked(record.uid) if p.part == name and is_part(name, p.argv)]
            send_all(self._processes, raylet, signal.SIGTERM)
            journal.put(part.model_copy(update={"ending_since": self._clock()}))

    def _suspend(self, journal: Journal, uid: str) -> None:
        """No process; ports, secrets and what the GCS stored stay for the day it goes on."""
        if not self._shutdown.step(uid, PATIENCE_SECONDS):
            journal.forget_processes()

    def _clear(self, journal: Journal, uid: str) -> bool:
        """End what ran before and forget Ray's state, for a cluster that is made anew; whether nothing is left."""
        if self._shutdown.step(uid, PATIENCE_SECONDS):
            return False
        journal.forget_processes()
        shutil.rmtree(journal.gcs_storage, ignore_errors=True)
        return True

    def _end(self, uid: str, part: str | None = None) -> bool:
        """Kill the cluster's processes, or those of a part; whether some are left."""
        return bool(kill_all(self._processes, uid, lambda process: part in (None, process.part), PATIENCE_SECONDS))
