"""The local backend: a Ray cluster as processes of this user on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.ending import Shutdown
from matrix_operator.backends.local.journal import CLUSTER_FILE, Journal, JournalUnreadable
from matrix_operator.backends.local.observe import observation
from matrix_operator.backends.local.places import remove_directories
from matrix_operator.backends.local.ports import LOOPBACK
from matrix_operator.backends.local.procfs import MarkedProcess, Processes, ProcessesUnreadable
from matrix_operator.backends.local.secrets import CLIENT_TOKEN, RAY_TOKEN, read_token
from matrix_operator.backends.local.spawning import Children
from matrix_operator.backends.local.supervise import Supervisor
from matrix_operator.backends.local.template import all_nodes, hash_of, render_template, wanted_numbers
from matrix_operator.backends.local.view import look
from matrix_operator.backends.port import BackendRefusal, Observation, PublicAddress, RayAddress, Removal, RemovalState, RuntimeLayout
from matrix_operator.looks import Look, Unknown
from matrix_store.home import Home
from matrix_store.process_identity import ProcessIdentity

_REMOVAL_PATIENCE_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


class LocalBackend:
    """A ClusterBackend. Everything that blocks runs in a thread; calls for one cluster must not overlap."""

    def __init__(
        self,
        home: Home,
        *,
        environ: Mapping[str, str] = os.environ,
        processes: Processes | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._home = home
        self._environ = environ
        self._processes = processes or Processes()
        self._clock = clock
        self._children = Children()
        self._seen: dict[str, tuple[ProcessIdentity, ...]] = {}
        self._shutdown = Shutdown(self._processes, clock)
        self._supervisor = Supervisor(home, self._processes, self._shutdown, self._children, environ, clock)

    async def observe(self, cluster: MatrixCluster) -> Look[Observation]:
        return await asyncio.to_thread(self._observe, cluster)

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        return await asyncio.to_thread(self._pulse, cluster.metadata.uid)

    def allocation_name(self, cluster: MatrixCluster) -> str:
        return f"{cluster.metadata.name}-{cluster.metadata.uid[:8]}"

    def template_hash(self, cluster: MatrixCluster) -> str:
        return hash_of(render_template(cluster.spec))

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        try:
            await asyncio.to_thread(self._supervisor.ensure, cluster, desired)
        except (JournalUnreadable, ProcessesUnreadable) as error:
            raise BackendRefusal(ClusterReason.BACKEND_UNREACHABLE, str(error)) from error
        except OSError as error:
            message = f"{error.filename or self._home.root}: {error.strerror}; free space or permissions there, it is tried again"
            raise BackendRefusal(ClusterReason.START_FAILED, message) from error

    async def remove(self, cluster: MatrixCluster) -> Removal:
        return await asyncio.to_thread(self._remove, cluster.metadata.uid, made_anew=not cluster.deleting)

    async def let_go(self, cluster: MatrixCluster) -> Removal:
        return Removal(RemovalState.GONE)  # no process has an owner

    async def address(self, cluster: MatrixCluster) -> RayAddress | None:
        return await asyncio.to_thread(self._address, cluster.metadata.uid)

    async def layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        return await asyncio.to_thread(self._layout, cluster)

    def _observe(self, cluster: MatrixCluster) -> Look[Observation]:
        self._children.reap()
        uid, spec = cluster.metadata.uid, cluster.spec
        try:
            view = look(Journal(self._home, uid), self._processes, uid)
        except (JournalUnreadable, ProcessesUnreadable) as error:
            return Unknown(str(error))
        self._seen[uid] = view.identities
        record = view.cluster
        wanted = all_nodes(record.template, wanted_numbers(spec, record.template, record.workers)) if record else ()
        return observation(view, cluster.metadata.name, wanted, spec.suspend, self._clock())

    def _pulse(self, uid: str) -> Hashable:
        """Which of the processes seen last are alive: a few reads, where a look goes through all processes of the machine."""
        seen = self._seen.get(uid, ())
        try:
            return tuple((identity, identity.alive()) for identity in seen)
        except OSError as error:
            return str(error)

    def _remove(self, uid: str, *, made_anew: bool) -> Removal:
        self._children.reap()
        try:
            left = self._shutdown.step(uid, _REMOVAL_PATIENCE_SECONDS)
        except ProcessesUnreadable as error:
            return Removal(RemovalState.UNKNOWN, str(error))
        if left:
            return Removal(RemovalState.GOING, f"{len(left)} processes are ending: {_describe(left)}")
        journal = Journal(self._home, uid)
        try:
            record = journal.cluster()
            remove_directories(uid, Path(record.directory) if record else None)
            _remove_tree(journal.directory, journal.secrets if made_anew else None)
        except JournalUnreadable as error:
            return Removal(RemovalState.GOING, f"no process is left, but {error}")
        except OSError as error:
            return Removal(RemovalState.GOING, f"{error.filename} can't be deleted ({error.strerror}); delete it by hand")
        return Removal(RemovalState.GONE)

    def _address(self, uid: str) -> RayAddress | None:
        journal = Journal(self._home, uid)
        try:
            record = journal.cluster()
            ray_token, client_token = (read_token(journal.secrets, name) for name in (RAY_TOKEN, CLIENT_TOKEN))
        except (JournalUnreadable, OSError):
            return None
        if record is None or ray_token is None or client_token is None:
            return None
        ports = record.ports
        public = PublicAddress(
            gateway_url=f"http://{LOOPBACK}:{ports.gateway}",
            directory_address=f"{LOOPBACK}:{ports.directory}",
            dashboard_url=f"http://{LOOPBACK}:{ports.dashboard}",
            state_url=f"http://{LOOPBACK}:{ports.state}",
            scope=EndpointScope.MACHINE,
        )
        return RayAddress(public.dashboard_url, public.state_url, ray_token, client_token, public)

    def _layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        journal = Journal(self._home, cluster.metadata.uid)
        try:
            record = journal.cluster()
        except JournalUnreadable:
            return None
        if record is None:
            return None
        return RuntimeLayout(
            state_port=record.ports.state,
            state_url=f"http://{LOOPBACK}:{record.ports.state}",
            directory_port=record.ports.directory,
            gateway_port=record.ports.gateway,
            bind_host=LOOPBACK,
            secrets_dir=str(journal.secrets),
            model_cache_dir=str(self._model_cache(cluster)),
        )

    def _model_cache(self, cluster: MatrixCluster) -> Path:
        """spec.modelCache.hostPath, else the user's cache: a volume claim or emptyDir of the same manifest is for Kubernetes."""
        cache = cluster.spec.model_cache
        if cache is not None and cache.host_path is not None:
            return Path(cache.host_path.path).expanduser()
        base = self._environ.get("XDG_CACHE_HOME") or Path(self._environ.get("HOME") or Path.home()) / ".cache"
        return Path(base) / "matrix" / "models"


def _describe(left: list[MarkedProcess]) -> str:
    return ", ".join(sorted({f"{process.part or 'unknown'} (pid {process.identity.pid})" for process in left})[:5])


def _remove_tree(directory: Path, kept: Path | None) -> None:
    """All but `kept`. The cluster's record goes last: as long as it is there, what was interrupted here is gone on with."""
    paths = [path for path in directory.iterdir() if path != kept] if directory.exists() else []
    for path in sorted(paths, key=lambda path: path.name == CLUSTER_FILE):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if kept is None and directory.exists():
        directory.rmdir()
