"""A real Kubernetes control plane on this machine, for tests: etcd, API server, controller manager, and a scheduler on request."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.lab import build, commands
from tests.lab.api import Api, wait_for
from tests.lab.errors import LabError
from tests.lab.ports import free_port
from tests.lab.processes import Process, end_all
from tests.lab.users import ADMINISTRATORS, Users

_ADMIN = ("lab-admin", (ADMINISTRATORS,))
_PORT_TAKEN = "address already in use"
_TRIES = 5
_START_SECONDS = 120.0
"""It takes 3 s on an idle machine, and more than a minute beside a dozen busy processes."""


class ControlPlane:
    """The control plane between `with` and its end. Everything it writes is in `directory`, which is removed with it.

    No node is there: pods can be made and stay Pending. Several can run side by side.
    """

    etcd: Process
    api_server: Process
    controller_manager: Process
    scheduler: Process | None = None
    url: str
    """Of the API server; the same for all its starts."""

    def __init__(
        self,
        directory: Path,
        *,
        crds: Iterable[Path] = (),
        scheduler: bool = False,
        address: str = commands.LOOPBACK,
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        """`directory` is made; it must not exist or be empty. `crds` are files that are applied before the controller manager starts:
        it looks for new kinds every 30 s only, and until it knows a kind, nothing that objects of it own is collected. `address` is where
        the API server listens, which pods have to reach. `choose_port` is asked again when the API server finds its port taken."""
        self.directory = directory
        self.kubeconfig = directory / commands.ADMIN_KUBECONFIG
        """The administrator's."""
        self.logs = directory / "logs"
        """One file for each process."""
        self._crds = tuple(crds)
        self._with_scheduler = scheduler
        self._address = address
        self._choose_port = choose_port
        self._users = Users(directory)
        self._clients: dict[tuple[str, tuple[str, ...]], Api] = {}
        self._processes: dict[str, Process] = {}
        self._stack = ExitStack()

    def __enter__(self) -> ControlPlane:
        """Returns when everything answers, 3 to 5 s later (and after a build, if there was none). Raises GoMissing, LabError."""
        programs = build.ensure()
        with ExitStack() as stack:
            self._prepare(stack)
            stack.callback(self._end)
            self._start(programs)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends every process, by force after 2 s, and removes the directory."""
        self._stack.close()

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signs all others."""
        return self._users.ca

    @property
    def processes(self) -> Sequence[Process]:
        """All that were started, and may have been killed since."""
        return tuple(self._processes.values())

    @property
    def api(self) -> Api:
        """The administrator's calls."""
        return self.api_for(*_ADMIN)

    def api_for(self, user: str, groups: Iterable[str] = ()) -> Api:
        """Calls as a user of that name in those groups; roles are bound to either by RBAC, and without any they may do next to nothing."""
        who = user, tuple(groups)
        if who not in self._clients:
            self._clients[who] = Api.with_certificate(self.url, self.ca, *self._users.files(*who))
        return self._clients[who]

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """A kubeconfig of such a user, beside the administrator's."""
        who = user, tuple(groups)
        path = self.directory / f"kubeconfig-{self._users.files(*who)[0].stem}"
        self._users.write_kubeconfig(path, self.url, *who)
        return path

    def certify(self, name: str, hosts: Sequence[str]) -> tuple[Path, Path]:
        """Certificate and key of a server that clients of this control plane trust, which is reached under those names and addresses."""
        return self._users.certify(name, hosts)

    def ready(self, deadline: float = _START_SECONDS) -> None:
        """Returns when the API server answers that it is ready. Raises LabError after `deadline` seconds, or at once if it or
        etcd has ended."""
        wait_for(self._is_ready, "the API server is ready", deadline)

    def restore(self) -> None:
        """Lets go on what was stopped and starts what was killed, whoever has left it so; returns when the API server is ready."""
        for process in self.processes:
            process.cont()
            if not process.running:
                process.start()
        self.ready()

    def _is_ready(self) -> bool:
        self.etcd.require_running()
        self.api_server.require_running()
        return self.api.answers()

    def _prepare(self, stack: ExitStack) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            raise LabError(f"{self.directory} is not empty: give the control plane a directory of its own")
        stack.callback(shutil.rmtree, self.directory)
        self.logs.mkdir()
        self._users.prepare((self._address, *commands.SERVER_NAMES))

    def _start(self, programs: Path) -> None:
        self.etcd = self._run("etcd", commands.etcd(programs))
        self._start_api_server(programs)
        self._users.write_kubeconfig(self.kubeconfig, self.url, *_ADMIN)
        self.api.apply_crds(self._crds)
        self.controller_manager = self._run("kube-controller-manager", commands.controller_manager(programs))
        if self._with_scheduler:
            self.scheduler = self._run("kube-scheduler", commands.scheduler(programs))
        wait_for(self._controllers_work, "the controllers work", _START_SECONDS)

    def _start_api_server(self, programs: Path) -> None:
        """Another process may take a port between the look whether it is free and the API server's own start."""
        for _ in range(_TRIES):
            port = self._choose_port()
            self.url = f"https://{self._address}:{port}"
            self.api_server = self._run("kube-apiserver", commands.api_server(programs, port, self._address))
            try:
                self.ready()
                return
            except LabError:
                self._close_clients()
                if _PORT_TAKEN not in self.api_server.tail():
                    raise
        raise LabError(f"another process took the API server's port {_TRIES} times")

    def _controllers_work(self) -> bool:
        for process in self.processes:
            process.require_running()
        return self.api.has_service_account("default")

    def _run(self, name: str, argv: Sequence[str]) -> Process:
        process = self._processes[name] = Process(name, argv, self.directory, self.logs / f"{name}.log")
        process.start()
        return process

    def _end(self) -> None:
        self._close_clients()
        end_all(self.processes)

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.popitem()[1].close()
