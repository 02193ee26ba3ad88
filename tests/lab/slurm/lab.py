"""A real Slurm on machines of the lab: a controller, nodes and a login node, in a network of their own."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import TracebackType

from tests.e2e.runtime.pod_network import PodNetwork
from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.node.needs import program
from tests.lab.slurm import cgroups, needs, settings, users
from tests.lab.slurm.accounting import Accounting
from tests.lab.slurm.daemon import Daemon
from tests.lab.slurm.place import Place
from tests.lab.slurm.users import UnixUser

_SECONDS = 120.0
OUTSIDE = ("outside", "matrix.example.org")
"""What this machine is called on those of the lab: the second is where the pages say that an operator is."""
COMMANDS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol", "sacct", "sacctmgr", "srun")


class Node:
    """A compute node: its machine, and the slurmd on it."""

    def __init__(self, place: Place, slurmd: Daemon) -> None:
        self.place = place
        self.slurmd = slurmd

    @property
    def name(self) -> str:
        return self.place.name


class SlurmLab:
    """Between `with` and its end. `directory` is made, can be read by everybody on the lab's machines, and is removed at the end.

    `users`: the first of them has an account where there is accounting. `shared_megabytes`: what the shared directory holds, if that is to
    be filled; in memory. `extra`: settings of slurm.conf. Several labs run side by side.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 2,
        *,
        logins: int = 1,
        people: Iterable[str] = ("alice", "bob"),
        cgroups: bool = False,
        accounting: bool = False,
        shared_megabytes: int | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._counts = (nodes, logins)
        self._people = tuple(people)
        self._with = (cgroups, accounting)
        self._shared_megabytes = shared_megabytes
        self._extra = extra or {}
        self._stack = ExitStack()
        self.nodes: Sequence[Node] = ()
        self.logins: Sequence[Place] = ()
        self.users: Mapping[str, UnixUser] = {}
        self.accounting: Accounting | None = None

    def __enter__(self) -> SlurmLab:
        """Returns when all nodes are idle. Raises SlurmMissing, LabError."""
        needs.ensure(self._with[1])
        with ExitStack() as stack:
            self._make_directory(stack)
            self._make_machines(stack)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left: no process, network, control group or file."""
        self._stack.close()

    @property
    def login(self) -> Place:
        return self.logins[0]

    @property
    def shared(self) -> Path:
        """Everybody's directory on the shared file system."""
        return self.directory / "shared"

    @property
    def configuration(self) -> Path:
        """SLURM_CONF."""
        return self.directory / "slurm.conf"

    def commands(self, user: UnixUser, login: int = 0) -> Path:
        """A directory of Slurm's commands that run as that user on that login node, whoever calls them from where: a PATH for what runs
        out here."""
        made = self.directory / "bin" / f"{user.name}-{login}"
        if not made.exists():
            made.mkdir(parents=True)
            for name in COMMANDS:
                argv = self.logins[login].argv(program(name), user=user)
                (made / name).write_text(f'#!/bin/sh\nexec {" ".join(map(quote, argv))} "$@"\n')
                (made / name).chmod(0o755)
        return made

    def run(self, *command: str, user: str | None = None, stdin: str = "", seconds: float = 60.0) -> str:
        """What that command prints on the login node, as that user or root. Raises LabError when it fails."""
        who = self.users[user] if user else None
        done = self.login.run(program(command[0]), *command[1:], user=who, stdin=stdin, seconds=seconds)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def idle(self) -> bool:
        """Whether every node is, and so can take a job."""
        for daemon in (self.slurmctld, *(node.slurmd for node in self.nodes)):
            daemon.require_running()
        looked = self.controller.run(program("sinfo"), "-h", "-N", "-p", "main", "-o", "%T")
        return looked.stdout.split() == ["idle"] * len(self.nodes)

    def wait_idle(self, seconds: float = _SECONDS) -> None:
        """Raises LabError."""
        wait_for(self.idle, "all nodes are idle", seconds)

    def answers(self) -> bool:
        """Whether slurmctld does."""
        return self.controller.run(program("scontrol"), "ping").returncode == 0

    def wait_saved(self) -> None:
        """Until what slurmctld knows now would survive its SIGKILL. It writes its state seconds after a change, nodes after jobs."""
        saved = self.directory / "state" / "node_state"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        self.controller.run(
            program("scontrol"), "update", f"NodeName={self.nodes[0].name}", f"Comment={time.monotonic_ns()}"
        ).check_returncode()
        wait_for(lambda: saved.exists() and saved.stat().st_mtime_ns > before, "slurmctld's state is saved", _SECONDS)

    def restart_controller(self, between: Callable[[], object] = lambda: None) -> None:
        """SIGKILL, `between`, and a new one with what was saved; returns when it answers."""
        self.slurmctld.kill()
        try:
            between()
        finally:
            self.slurmctld.start()
            wait_for(self.answers, "slurmctld answers", _SECONDS)

    @contextmanager
    def losing_what_happens(self) -> Iterator[None]:
        """What slurmctld is told within the block, it has forgotten at its end: it was killed before it had saved it."""
        kept = self.directory / "state-kept"
        self.slurmctld.freeze()  # it replaces those files, one after the other
        try:
            shutil.copytree(self.directory / "state", kept)
        finally:
            self.slurmctld.thaw()
        try:
            yield
        finally:
            self.restart_controller(lambda: self._put_back(kept))

    def _put_back(self, kept: Path) -> None:
        shutil.rmtree(self.directory / "state")
        kept.rename(self.directory / "state")

    def cancel_jobs(self) -> None:
        """Every job of everybody's."""
        for name in self.users:
            self.run("scancel", f"--user={name}")

    def cancel_all(self) -> None:
        """The same; returns when the nodes are idle again."""
        self.cancel_jobs()
        self.wait_idle()

    def reconfigure(self, **extra: str) -> None:
        """Other settings, for the daemons that run; returns when slurmctld has them."""
        self._extra = {**self._extra, **extra}
        self._write_settings()
        self.controller.run(program("scontrol"), "reconfigure")
        wait_for(lambda: extra.items() <= self._settings().items(), f"slurmctld has {extra}", _SECONDS)

    def _settings(self) -> Mapping[str, str]:
        lines = self.controller.run(program("scontrol"), "show", "config").stdout.splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}

    def _make_directory(self, stack: ExitStack) -> None:
        self.directory.mkdir(parents=True)
        stack.callback(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        for name in ("etc", "log", "run", "spool", "state", "munge", "machines", "shared", "homes"):
            (self.directory / name).mkdir(mode=0o755)
        if self._shared_megabytes:
            self._limit_shared(stack, self._shared_megabytes)
        self.shared.chmod(0o1777)
        self.users = users.make(self._people, self.directory / "homes", self.directory / "etc")

    def _limit_shared(self, stack: ExitStack, megabytes: int) -> None:
        """Before there are machines: they see what is mounted when they start."""
        subprocess.run([program("mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.shared], check=True, timeout=30)
        stack.callback(lambda: subprocess.run([program("umount"), "--lazy", self.shared], check=True, timeout=30))

    @contextmanager
    def full(self) -> Iterator[None]:
        """The shared directory holds nothing more, for anybody, within the block."""
        filler = self.shared / "filler"
        try:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(2**16)):
                    pass
            yield
        finally:
            filler.unlink()

    def _make_machines(self, stack: ExitStack) -> None:
        nodes, logins = self._counts
        network = PodNetwork()
        stack.callback(network.remove)
        site = f"s{network.address.split('.')[2]}"  # the names of nodes are in those of control groups, which all labs share
        names = [f"{site}ctl", *(f"{site}n{n + 1}" for n in range(nodes)), *(f"{site}login{n + 1}" for n in range(logins))]
        addresses = [network.add() for _ in names]
        outside = dict.fromkeys(OUTSIDE, network.address)
        hosts = {"localhost": "127.0.0.1"} | outside | {n: a.address for n, a in zip(names, addresses, strict=True)}
        (self.directory / "etc" / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        (self.directory / "etc" / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # nobody: other names are refused at once
        places = [Place(self.directory, name, address, network.address) for name, address in zip(names, addresses, strict=True)]
        self.controller, self.logins = places[0], places[nodes + 1 :]
        self.nodes = [Node(place, self._slurmd(place)) for place in places[1 : nodes + 1]]
        self._places = places
        stack.callback(cgroups.remove, [node.name for node in self.nodes])
        for place in places:
            stack.callback(place.stop)
            place.start()
        self._write_settings()
        for place in places:
            place.wait_started()

    def _slurmd(self, place: Place) -> Daemon:
        return Daemon(f"slurmd-{place.name}", place, [program("slurmd"), "-D", "-N", place.name], self.directory / "log")

    def _write_settings(self) -> None:
        with_cgroups, with_accounting = self._with
        machines = [settings.Machine(node.name, node.place.address) for node in self.nodes]
        controller = settings.Machine(self.controller.name, self.controller.address)
        text = settings.slurm(self.directory, controller, machines, cgroups=with_cgroups, accounting=with_accounting, extra=self._extra)
        self.configuration.write_text(text)
        (self.directory / "gres.conf").write_text(settings.gres())
        (self.directory / "cgroup.conf").write_text(settings.cgroup())

    def _start(self, stack: ExitStack) -> None:
        logs, munge = self.directory / "log", self.directory / "munge"
        key = munge / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        where = [f"--key-file={key}", f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"]
        self.munged = Daemon("munged", self.controller, [program("munged"), "-F", *where, f"--log-file={logs}/munged.log"], logs)
        self.munged.start()
        wait_for((munge / "socket").exists, "munged listens", _SECONDS)
        if self._with[1]:
            self.accounting = Accounting(self.directory, self.controller)
            self.accounting.start()
            self.accounting.admit(self.users.values())
        self.slurmctld = Daemon("slurmctld", self.controller, [program("slurmctld"), "-D"], logs)
        self.slurmctld.start()
        for node in self.nodes:
            node.slurmd.start()
        self.wait_idle()
