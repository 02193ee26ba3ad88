"""A cluster of jobs on a real Slurm, submitted by hand as the bridge would: without the agent, which would put things right."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import httpx2
import psutil

from matrix_crds.cluster import MatrixClusterSpec
from matrix_slurm_bridge.cluster_directory import RAY_TOKEN, ClusterDirectory
from matrix_slurm_bridge.node.record import FILE, HeadRecord
from matrix_slurm_bridge.node.seat import read_record
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus, read_status
from matrix_slurm_bridge.render.profile import ProfileDirectives
from matrix_slurm_bridge.render.script import render_head, render_worker
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Submission
from tests.lab.slurm.lab import Node, SlurmLab

_Found = TypeVar("_Found")
SECONDS = 180.0
"""For anything that Ray does. The machine may be busy."""
SPEC: Mapping[str, Any] = {
    "backend": {"slurm": {"site": "lab"}},
    "head": {"resources": {"cpu": 1, "memory": "1500Mi"}},
    "workerGroups": [{"name": "cpu", "resources": {"cpu": 1, "memory": "1Gi"}}],
}


class Cluster:
    def __init__(self, lab: SlurmLab, user: str, *, grace: float = 600.0, spec: Mapping[str, Any] = SPEC) -> None:
        self.lab = lab
        self.user = lab.users[user]
        self.uid = str(uuid.uuid4())
        self.spec = MatrixClusterSpec.model_validate(spec)
        self.profile = ProfileDirectives("lab", sys.executable, partition="main", head_loss_grace=timedelta(seconds=grace))
        self.directory = ClusterDirectory(lab.shared / f"{user}-{self.uid}")
        self._make_directory()

    def _make_directory(self) -> None:
        directory = self.directory
        for path in (directory.path, directory.secrets, directory.logs, directory.nodes):
            path.mkdir(mode=0o700)
            os.chown(path, self.user.uid, self.user.uid)
        self._write(directory.secrets / RAY_TOKEN, secrets.token_urlsafe(32))
        self._write(directory.path / FILE, HeadRecord(uid=self.uid).model_dump_json(by_alias=True))

    def _write(self, path: Any, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, self.user.uid, self.user.uid)

    def head_tag(self, serial: int = 1) -> JobTag:
        return JobTag(self.uid, HEAD, 0, 1, serial)

    def worker_tag(self, index: int = 0, serial: int = 1) -> JobTag:
        return JobTag(self.uid, "cpu", index, 1, serial)

    def head_script(self, node: Node, serial: int = 1) -> Submission:
        return render_head(self.head_tag(serial), self.spec, self._on(node), self.directory)

    def start_head(self, node: Node, serial: int = 1) -> str:
        """The job's number."""
        return self.submit(self.head_script(node, serial))

    def start_heir(self, node: Node, serial: int) -> JobTag:
        """A head that stands by, and is prepared."""
        tag = self.head_tag(serial)
        self._write(self.directory.standby_file(tag), "")
        self.start_head(node, serial)
        self.wait_status(tag, lambda status: status.phase is NodePhase.STANDBY, "stands by")
        return tag

    def start_worker(self, node: Node, index: int = 0, serial: int = 1) -> str:
        return self.submit(render_worker(self.worker_tag(index, serial), self.spec, self._on(node), self.directory))

    def submit(self, submission: Submission) -> str:
        return self.lab.run("sbatch", "--parsable", user=self.user.name, stdin=submission.script).strip()

    def cancel(self, *jobs: str) -> None:
        self.lab.run("scancel", *jobs, user=self.user.name)

    def _on(self, node: Node) -> ProfileDirectives:
        return replace(self.profile, extra=(f"--nodelist={node.name}",))

    def status(self, tag: JobTag) -> NodeStatus | None:
        return read_status(self.directory.status_file(tag))

    def wait_status(self, tag: JobTag, holds: Callable[[NodeStatus], object], what: str) -> NodeStatus:
        def found() -> NodeStatus | None:
            status = self.status(tag)
            return status if status is not None and holds(status) else None

        return until(found, lambda: f"{tag.node_name} {what}: {self.status(tag)}\n{self.log(tag)[-3000:]}")

    def wait_running(self, *tags: JobTag) -> None:
        """A worker: in the Ray of the head that head.json names now."""

        def runs(status: NodeStatus) -> bool:
            record = self.record()
            return status.phase is NodePhase.RUNNING and (status.head is None or status.head == record.fence)

        for tag in tags:
            self.wait_status(tag, runs, "runs")

    def log(self, tag: JobTag) -> str:
        file = self.directory.logs / f"{tag.job_name}-{tag.attempt}-{tag.serial}.log"
        return file.read_text(errors="replace") if file.exists() else "(no log)"

    def record(self) -> HeadRecord:
        return until(lambda: read_record(self.directory.path), lambda: f"{FILE} can't be read")

    def ray(self, path: str, **posted: Any) -> Any:
        """Ray's REST API, as the site's agent reaches it."""
        record = self.record()
        assert record.ports is not None
        url = f"http://{record.address}:{record.ports.dashboard}{path}"
        header = {"Authorization": f"Bearer {(self.directory.secrets / RAY_TOKEN).read_text()}"}
        with httpx2.Client(headers=header, timeout=30, trust_env=False) as client:
            answer = client.post(url, json=posted) if posted else client.get(url)
        answer.raise_for_status()
        return answer.json()

    def alive(self) -> Sequence[str]:
        """The names of the nodes that Ray calls alive, sorted."""
        found = self.ray("/api/v0/nodes?detail=1")["data"]["result"]["result"]
        return sorted(node["node_name"] for node in found if node["state"] == "ALIVE")

    def wait_alive(self, *names: str) -> None:
        def are() -> bool:
            try:
                return tuple(self.alive()) == names
            except (httpx2.HTTPError, KeyError, json.JSONDecodeError):
                return False

        until(are, lambda: f"Ray's nodes are not {names}; {self.record()}")

    def run(self, code: str) -> str:
        """What that Python prints as a Ray job on the cluster."""
        submitted = self.ray("/api/jobs/", entrypoint=f"{sys.executable} -c '{code}'")["submission_id"]
        ended = until(lambda: (s := self.ray(f"/api/jobs/{submitted}")["status"]) in ("SUCCEEDED", "FAILED") and s, lambda: "the job ends")
        logs = str(self.ray(f"/api/jobs/{submitted}/logs")["logs"])
        assert ended == "SUCCEEDED", logs
        return logs

    def processes(self, node: Node, words: str = "") -> list[psutil.Process]:
        """What runs there of this user with those words in its command line, the guardians among it."""
        found = []
        for process in node.place.processes():
            try:
                if process.uids().real == self.user.uid and words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def of_ray(self, node: Node, part: str, role: str = "") -> psutil.Process:
        """That part of this cluster's Ray: the GCS, dashboard or raylet that listens at ports of its jobs there; of a job of that role. Not
        a child of it that is about to become another program."""
        found = [p for p in self.processes(node, part) if f"{self.uid}:{role}" in marker(p)]
        pids = {process.pid for process in found}
        [process] = [p for p in found if (above := parent(p)) is None or above.pid not in pids]
        return process

    def program(self, node: Node, tag: JobTag) -> psutil.Process:
        """That of the job, not its guardian, which has another parent."""
        status = self.status(tag)
        assert status is not None
        words = f"--uid {self.uid} --role {tag.role} --index {tag.index} "
        [program] = [p for p in self.processes(node, words) if below_slurm(p)]
        return program


def marker(process: psutil.Process) -> str:
    """Of the run of a job that it belongs to."""
    with suppress(psutil.Error):
        return str(process.environ().get("MATRIX_SLURM_RUN", ""))
    return ""


def parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.Error):
        return process.parent()
    return None


def below_slurm(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return (above := process.parent()) is not None and "slurmstepd" in above.name()
    return False


def until(look: Callable[[], _Found | None], what: Callable[[], str], seconds: float = SECONDS) -> _Found:
    """What `look` finds, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what()}"
        time.sleep(0.2)
    return found
