"""An ordinary user on a login node of a real Slurm: types commands, and looks at the queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.api import wait_for
from tests.lab.node.needs import PATH
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.place import REPOSITORY
from tests.lab.slurm.users import UnixUser

PATIENCE = 900.0
"""For a Ray that starts on a machine that does much else."""
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
    """One user on the first login node."""

    lab: SlurmLab
    user: UnixUser

    @property
    def shared(self) -> Path:
        """The user's own directory on the shared file system."""
        return self.lab.shared / self.user.name

    def type(self, *command: str, seconds: float = 120.0, status: int | None = 0, stdin: str = "") -> str:
        """What it prints on both channels. `status` None: whichever. Raises CommandFailed."""
        told = [f"PATH={PROGRAMS}:{PATH}", f"SCRATCH={self.shared}"]
        done = self.lab.login.run("/usr/bin/env", *told, *command, user=self.user, seconds=seconds, stdin=stdin)
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
        wait_for(holds, what, seconds)

    def wait_ready(self, name: str) -> None:
        self.matrix("wait", f"mxc/{name}", "--for", "condition=Ready", "--timeout", str(int(PATIENCE)), seconds=PATIENCE + 60)

    def queue(self) -> list[Queued]:
        """The user's jobs that are in it."""
        text = self.type("squeue", "--me", "--noheader", "--Format=JobID:|,Name:200|,StateCompact:|,Comment:200|")
        lines = [[field.strip() for field in line.split("|")] for line in text.splitlines() if line.strip()]
        return [Queued(*fields[:4]) for fields in lines]

    def jobs_of(self, role: str) -> list[str]:
        """The numbers of the jobs of that role."""
        return sorted(job.id for job in self.queue() if f":{role}:" in job.comment)

    def controller(self) -> int:
        """Its pid, on the login node."""
        found = json.loads(self.type("matrix", "controller", "status", "-o", "json"))
        return int(found["pid"])


def manifest(name: str, **groups: int) -> str:
    """A cluster with a model that makes its text up."""
    workers = [{"name": group, "replicas": count, "resources": {"cpu": 1, "memory": "1Gi"}} for group, count in groups.items()]
    head = {"resources": {"cpu": 2, "memory": "3Gi"}}
    cluster = {"spec": {"head": head, "workerGroups": workers}, "kind": "MatrixCluster", "metadata": {"name": name}}
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
    return "\n---\n".join(json.dumps({"apiVersion": "matrix.dev/v1alpha1"} | one) for one in (cluster, model))


EXAMPLE = REPOSITORY / "examples" / "dummy.yaml"
