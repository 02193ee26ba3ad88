"""Jobs whose time ends, and workers that are not wanted any more, while questions are asked. One cluster goes through all of it, in order.
It takes about four minutes, since Slurm counts time limits in whole ones, and tells a job of its end half a minute early or late."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

from tests.e2e.page import ROOT
from tests.e2e.slurm.product.conftest import Report
from tests.e2e.slurm.product.login import PATIENCE, PROGRAMS, Login

pytestmark = pytest.mark.timeout(2400)
CLIENTS = 8
LIMIT_MINUTES = 4
GROUPS = {"a": 1, "b": 1}


class Asker:
    """Asks the model on the login node all the time, over gRPC and through the gateway."""

    def __init__(self, alice: Login, model: str) -> None:
        found = dict(re.findall(r"export (\w+)=(\S+)", alice.matrix("env", model)))
        program = (str(PROGRAMS / "python"), "-m", "tests.e2e.slurm.product.asker", model, str(CLIENTS))
        argv = alice.place.argv("/usr/bin/env", "-C", str(ROOT), *program, user=alice.user, environment=found | alice.environment)
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read() == "asks", self._process.poll()

    def so_far(self) -> dict[str, Any]:
        """What has become of the questions."""
        assert self._process.stdin is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        return dict(json.loads(self._read()))

    def to_the_end(self) -> dict[str, Any]:
        """What has become of every question that was asked; no other one is."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return dict(json.loads(self._read()))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def asking(alice: Login, model: str) -> Iterator[Asker]:
    asker = Asker(alice, model)
    try:
        yield asker
    finally:
        asker.kill()


def write(alice: Login, groups: dict[str, int]) -> None:
    """The cluster's file: any worker holds two replicas, the head none."""
    workers = [{"name": name, "replicas": count, "resources": {"cpu": 2, "memory": "1500Mi"}} for name, count in groups.items()]
    spec = {
        "backend": {"slurm": {"site": "lab", "profile": "default"}},
        "head": {"resources": {"cpu": 2, "memory": "2500Mi"}},
        "workerGroups": workers,
    }
    (alice.shared / "lab.yaml").write_text(_text("MatrixCluster", "lab", spec))


def write_model(alice: Login, name: str) -> str:
    spec = {
        "clusterRef": {"name": "lab"},
        "engine": {"dummy": {"tokensPerSecond": 100, "seed": 1}},
        "replicas": 1,
        "resources": {"cpu": "500m", "memory": "400Mi"},
    }
    file = alice.shared / f"{name}.yaml"
    file.write_text(_text("ModelDeployment", name, spec))
    return str(file)


def _text(kind: str, name: str, spec: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "matrix.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def set_site(alice: Login, pattern: str, text: str) -> None:
    """Correct the site's file."""
    site = alice.user.home / ".config" / "matrix" / "site.yaml"
    found, times = re.subn(pattern, text, site.read_text(), flags=re.MULTILINE)
    assert times == 1, found
    site.write_text(found)


def apply(alice: Login, **groups: int) -> None:
    write(alice, groups)
    alice.matrix("apply", str(alice.shared / "lab.yaml"))


def where(alice: Login) -> list[str]:
    """The markers of the jobs in which the model's replicas run."""
    found = []
    for node in alice.lab.nodes:
        for process in node.place.processes():
            with suppress(psutil.Error):
                if any("ServeReplica:mx-md-parrot" in word for word in process.cmdline()):
                    found.append(process.environ()["MATRIX_SLURM_RUN"])
    return sorted(set(found))


@pytest.fixture(scope="module")
def lab_cluster(alice: Login) -> Iterator[Login]:
    set_site(alice, r"# timeLimit: \S+", f"timeLimit: 0:0{LIMIT_MINUTES}:00")
    write(alice, GROUPS)
    model = write_model(alice, "parrot")
    alice.matrix("up", str(alice.shared / "lab.yaml"), model, "--backend", "slurm", "--timeout", "900", seconds=PATIENCE + 60)
    for group in GROUPS:
        give_time(alice, group)
    yield alice
    alice.matrix("down", "mxd/parrot", "mxc/lab", seconds=400)
    assert alice.queue() == []


def give_time(alice: Login, group: str) -> None:
    """So that the group's worker ends when a test wants it to, however long all that comes before takes. Root alone may do that."""
    for job in alice.jobs_of(group):
        alice.lab.run("scontrol", "update", f"jobid={job}", "TimeLimit=60")
    alice.wait(lambda: len(alice.jobs_of(group)) == 1, f"no other worker of {group} is on its way")


def test_a_head_without_a_time_limit_has_no_end(lab_cluster: Login) -> None:
    assert "expiresAt" not in lab_cluster.cluster("lab")["status"]["allocation"]


def test_a_worker_that_is_not_wanted_any_more_drains_and_no_question_is_lost(lab_cluster: Login, report: Report) -> None:
    alice = lab_cluster
    [marker] = where(alice)
    group = marker.split(":")[2]
    [job] = alice.jobs_of(group)
    with asking(alice, "parrot") as asker:
        began = time.monotonic()
        apply(alice, **{name: int(name != group) for name in GROUPS})
        alice.wait(lambda: alice.jobs_of(group) == [], "its job has ended")
        seconds = time.monotonic() - began
        told = asker.to_the_end()
    report(f"worker with the replica not wanted any more: its job ended after {seconds:.0f} s; {_counts(told)}")
    assert told["lost"] == told["broken"] == 0, told
    [ended] = [one for one in alice.queue(ended=True) if one.id == job]
    assert ended.state == "CD", "it ended by itself"
    assert len(where(alice)) == 1


def _counts(told: dict[str, Any]) -> str:
    return f"{told['answered']} answered, {told['lost']} lost, {told['broken']} broken off"


def test_a_cluster_that_may_have_no_more_jobs_takes_models_all_the_same(lab_cluster: Login) -> None:
    alice = lab_cluster
    [group] = [name for name in GROUPS if alice.jobs_of(name)]
    set_site(alice, r"^maxJobs: 200", "maxJobs: 2")
    apply(alice, **{name: 2 * int(name == group) for name in GROUPS})
    alice.wait(lambda: "maxJobs" in alice.condition("lab", "WorkersReady").get("message", ""), "it is told")
    alice.matrix("apply", write_model(alice, "second"))
    for_replicas = ("--for", "condition=ReplicasReady", "--timeout", str(int(PATIENCE)))
    alice.matrix("wait", "mxd/second", *for_replicas, seconds=PATIENCE + 60)
    assert "more jobs are needed; the site's file allows 2 in all (maxJobs)" in alice.matrix("why", "mxc/lab", status=None)
    alice.matrix("delete", "mxd/second")
    apply(alice, **{name: int(name == group) for name in GROUPS})  # first, or there would be room for another worker for a moment
    alice.wait(lambda: "maxJobs" not in alice.condition("lab", "WorkersReady").get("message", ""), "no more are wanted")
    set_site(alice, r"^maxJobs: 2", "maxJobs: 200")
    alice.wait_ready("lab")


def test_a_worker_whose_time_ends_is_succeeded_and_no_question_is_lost(lab_cluster: Login, report: Report) -> None:
    alice = lab_cluster
    [group] = [name for name in GROUPS if alice.jobs_of(name)]
    alice.wait(lambda: len(alice.jobs_of(group)) == 1, "no other one is on its way")
    [former], heads, most = alice.jobs_of(group), alice.jobs_of("head"), 0
    alice.wait(lambda: elapsed(alice, former) > 40 * LIMIT_MINUTES, "it has had two thirds of what the site gives it")
    with asking(alice, "parrot") as asker:

        def succeeded() -> bool:
            nonlocal most
            jobs = alice.jobs_of(group)
            most = max(most, len(jobs))
            return former not in jobs and len(jobs) == 1

        set_limit(alice, former, elapsed(alice, former) // 40 + 1)
        alice.wait(succeeded, "its job has ended, and another one is there")
        alice.wait_ready("lab")
        told = asker.to_the_end()
    report(f"worker's time nearly over: {most} jobs of it at most; {_counts(told)}")
    assert told["lost"] == told["broken"] == 0, told
    [ended] = [one for one in alice.queue(ended=True) if one.id == former]
    assert (ended.state, most, alice.jobs_of("head")) == ("CD", 2, heads)


def test_a_head_whose_time_ends_hands_over_to_one_that_stands_by(lab_cluster: Login, report: Report) -> None:
    alice = lab_cluster
    [group] = [name for name in GROUPS if alice.jobs_of(name)]
    give_time(alice, group)
    [former], workers = alice.jobs_of("head"), alice.jobs_of(group)
    with asking(alice, "parrot") as asker:
        limit = elapsed(alice, former) // 40
        set_limit(alice, former, limit)
        alice.wait(lambda: "expiresAt" in alice.cluster("lab")["status"]["allocation"], "its end is told", 240)
        alice.wait(lambda: len(alice.jobs_of("head")) == 2, "another one has a job", 240)
        alice.wait(lambda: former not in alice.jobs_of("head"), "it has handed over", 60 * limit)
        before = asker.so_far()["answered"]
        alice.wait(lambda: asker.so_far()["answered"] > before + CLIENTS, "the model answers")
        alice.wait_ready("lab")
        told = asker.so_far()
    report(f"head's time nearly over: for {told['silence']:.0f} s no answer; {_counts(told)}, over gRPC {told['lost_over_grpc']} lost")
    assert alice.jobs_of(group) == workers
    [ended] = [one for one in alice.queue(ended=True) if one.id == former]
    assert ended.state in ("CD", "CA"), "it handed over before its time was over: it ended by itself, or the agent was quicker"
    assert "expiresAt" not in alice.cluster("lab")["status"]["allocation"]


def elapsed(alice: Login, job: str) -> int:
    """For how many seconds it has run. A job is in the last third of as many minutes as that has fortieth parts, and comes to it soon when
    it has one minute more."""
    told = alice.type("squeue", "--noheader", f"--jobs={job}", "--format=%M").strip()
    return sum(60**place * int(part) for place, part in enumerate(reversed(told.split(":"))))


def set_limit(alice: Login, job: str, minutes: int) -> None:
    """A user may shorten the time of her jobs."""
    alice.type("scontrol", "update", f"jobid={job}", f"TimeLimit={minutes}")
