"""An ordinary user on a login node of a real Slurm: types commands, and looks at the queue."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.page import ROOT, Block, Terminal
from tests.lab.api import wait_for
from tests.lab.node.needs import PATH
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.place import Place
from tests.lab.slurm.users import UnixUser

PATIENCE = 900.0
"""For a Ray that starts on a machine that does much else."""
PAUSE_SECONDS = 0.7
SLEEPS_SECONDS = 3599
"""A plain job's."""
PROGRAMS = Path(sys.prefix) / "bin"


class CommandFailed(AssertionError):
    """A command ended with another status than was expected."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue."""

    id: str
    name: str
    state: str
    comment: str


@dataclass(frozen=True)
class Login:
    """One user on a login node."""

    lab: SlurmLab
    user: UnixUser
    number: int = 0
    """Of the login node."""
    also: Mapping[str, str] = field(default_factory=dict)
    """What the user has set in this shell."""

    @property
    def place(self) -> Place:
        return self.lab.logins[self.number]

    @property
    def shared(self) -> Path:
        """The user's own directory on the shared file system."""
        return self.lab.shared / self.user.name

    @property
    def environment(self) -> dict[str, str]:
        """What the site and the user's own profile set, beside a login's."""
        return {"PATH": f"{PROGRAMS}:{PATH}", "SCRATCH": str(self.shared)}

    def type(self, *command: str, seconds: float = 120.0, status: int | None = 0, stdin: str = "") -> str:
        """What it prints on both channels. `status` None: whichever. Raises CommandFailed."""
        told = [f"{name}={value}" for name, value in (self.environment | dict(self.also)).items()]
        done = self.place.run("/usr/bin/env", *told, *command, user=self.user, seconds=seconds, stdin=stdin)
        text = done.stdout + done.stderr
        if status is not None and done.returncode != status:
            raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}, not {status}:\n{text[-4000:]}")
        return text

    def matrix(self, *words: str, seconds: float = 120.0, status: int | None = 0) -> str:
        return self.type("matrix", *words, seconds=seconds, status=status)

    def cluster(self, name: str) -> dict[str, Any]:
        """The object as it is now."""
        found: dict[str, Any] = json.loads(self.type("matrix", "get", "mxc", name, "-o", "json"))
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.cluster(name).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == kind), {})

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """The commands that it asks by take a second of processor time that the cluster wants, too: there is a pause between them."""

        def after_a_pause() -> bool:
            time.sleep(PAUSE_SECONDS)
            return holds()

        wait_for(after_a_pause, what, seconds)

    def wait_ready(self, name: str) -> None:
        self.matrix("wait", f"mxc/{name}", "--for", "condition=Ready", "--timeout", str(int(PATIENCE)), seconds=PATIENCE + 60)

    def queue(self, *, ended: bool = False) -> list[Queued]:
        """The user's jobs that are in it."""
        which = ("--states=all",) if ended else ()
        text = self.type("squeue", "--me", "--noheader", *which, "--Format=JobID:|,Name:200|,StateCompact:|,Comment:200|")
        lines = [[field.strip() for field in line.split("|")] for line in text.splitlines() if line.strip()]
        return [Queued(*fields[:4]) for fields in lines]

    def jobs_of(self, role: str) -> list[str]:
        """The numbers of the jobs of that role."""
        return sorted(job.id for job in self.queue() if f":{role}:" in job.comment)

    def jobs_for(self, name: str, *, ended: bool = False) -> list[Queued]:
        """Those of that cluster; with those that have ended and that Slurm remembers."""
        uid = self.cluster(name)["metadata"]["uid"]
        return [job for job in self.queue(ended=ended) if f":{uid}:" in job.comment]

    def sleeps(self, *options: str) -> str:
        """The number of a plain job of hers that does nothing."""
        return self.type(
            "sbatch", "--parsable", "--mem=100M", "--output=/dev/null", *options, "--wrap", f"exec sleep {SLEEPS_SECONDS}"
        ).strip()

    def host(self, job: str) -> str:
        """The node of one that runs."""
        return self.type("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()

    def states(self, *jobs: str) -> set[str]:
        """Of those jobs, hers or not; without those that have left the queue."""
        return set(self.type("squeue", "--noheader", f"--jobs={','.join(jobs)}", "--format=%t", status=None).split())

    def controller(self) -> int:
        """Its pid, on the login node."""
        found = json.loads(self.type("matrix", "controller", "status", "-o", "json"))
        return int(found["pid"])


LARGE = "3500Mi"
"""Of memory: no node of the lab holds a head and one of these, or two of them."""


def cluster(name: str, *, memory: str = "1Gi", **groups: int) -> str:
    """One at the lab's site, with so many workers of that memory in each group."""
    workers = [{"name": group, "replicas": count, "resources": {"cpu": 1, "memory": memory}} for group, count in groups.items()]
    spec = {
        "backend": {"slurm": {"site": "lab", "profile": "default"}},
        "head": {"resources": {"cpu": 2, "memory": "3Gi"}},
        "workerGroups": workers,
    }
    return _text({"kind": "MatrixCluster", "metadata": {"name": name}, "spec": spec})


def manifest(name: str, *, memory: str = "1Gi", **groups: int) -> str:
    """The same, with a model that makes its text up."""
    model = {
        "kind": "ModelDeployment",
        "metadata": {"name": f"parrot-{name}"},
        "spec": {
            "clusterRef": {"name": name},
            "engine": {"dummy": {"tokensPerSecond": 1000, "seed": 1}},
            "replicas": 1,
            "resources": {"cpu": "500m", "memory": "512Mi"},
        },
    }
    return f"{cluster(name, memory=memory, **groups)}\n---\n{_text(model)}"


def _text(one: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "matrix.dev/v1alpha1"} | one)


class LoginTerminal(Terminal):
    """Blocks of a page, typed by a user in the checkout on the login node."""

    def __init__(self, login: Login, keeps: Callable[[str], bool] = lambda line: True) -> None:
        super().__init__(login.environment, login.user.home, keeps)
        self._login = login

    def _argv(self, block: Block) -> list[str]:
        return self._login.place.argv(
            "/usr/bin/env", "-C", str(ROOT), *super()._argv(block), user=self._login.user, environment=self._environ
        )
