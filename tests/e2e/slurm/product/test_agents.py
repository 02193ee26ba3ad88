"""What befalls the site's agent: Slurm forgets and runs jobs again, there are several agents, others have jobs of the same names, the
shared directory is full. The jobs only sleep: what the agent does is the same, and takes seconds."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from tests.e2e.slurm.product.conftest import Report
from tests.e2e.slurm.product.login import Login, Queued, cluster
from tests.lab.api import wait_for
from tests.lab.slurm.lab import SlurmLab

pytestmark = pytest.mark.timeout(900)
SECONDS = 240.0
"""For anything that the agent does."""
SLEEPER = "#!/bin/sh\nexec sleep 3600\n"
HOG = "#!/bin/sh\ncase $* in *' worker '*) exec /usr/bin/python3 -c 'bytearray(3 * 2**30)' ;; esac\nexec sleep 3600\n"
"""Its workers take more memory than they get."""
UNAVAILABLE = 5
ANSWERS_NOT = ("--hub", "localhost:1", "--site", "lab")


def with_jobs_that(login: Login, script: str) -> Login:
    """Her site's file, with that instead of the runtime's Python."""
    login.matrix("bridge", "init")
    program = login.shared / "sleeper"
    login.type("sh", "-c", f"cat > {program}; chmod 755 {program}", stdin=script)
    site = login.user.home / ".config" / "matrix" / "site.yaml"
    site.write_text(re.sub(r"python: \S+", f"python: {program}", site.read_text()))
    return login


def apply(login: Login, name: str, workers: int) -> None:
    """As it is to be from now on; waits until its jobs run."""
    file = login.shared / f"{name}.yaml"
    file.write_text(cluster(name, w=workers))
    login.matrix("apply", str(file))
    login.wait(lambda: run(login, name) == 1 + workers, f"{workers} workers and the head of {name} run", SECONDS)


def run(login: Login, name: str) -> int:
    """How many jobs of that cluster do."""
    return [job.state for job in login.jobs_for(name)].count("R")


def words(login: Login) -> str:
    """What her agent says of its clusters' nodes, as a user sees it once there is a head that answers."""
    return login.matrix("bridge", "status", "-o", "json", status=None)


def down(login: Login, name: str) -> None:
    login.matrix("down", f"mxc/{name}")


def tags(jobs: list[Queued]) -> set[tuple[str, str]]:
    return {(job.comment, job.id) for job in jobs}


def ever(login: Login, name: str) -> set[tuple[str, str]]:
    """The jobs of that cluster, with those that have ended."""
    return tags(login.jobs_for(name, ended=True))


@pytest.fixture(scope="module")
def alice(newcomer: Login) -> Login:
    return with_jobs_that(newcomer, SLEEPER)


@pytest.fixture(scope="module")
def bob(alice: Login) -> Login:
    return replace(alice, user=alice.lab.users["bob"])


@pytest.fixture(scope="module")
def base(alice: Login) -> Iterator[Login]:
    """A cluster of head and worker that is there throughout."""
    apply(alice, "base", 1)
    yield alice
    down(alice, "base")


@pytest.fixture(scope="module")
def strangers(base: Login, bob: Login) -> list[str]:
    """A job of somebody else's with the name and the comment of the head's, and one of her own with the name alone."""
    [head] = [job for job in base.jobs_for("base") if ":head:" in job.comment]
    return [bob.sleeps(f"--job-name={head.name}", f"--comment={head.comment}"), base.sleeps(f"--job-name={head.name}")]


@pytest.mark.usefixtures("strangers")
def test_a_worker_that_is_requeued_waits_for_its_time_and_keeps_its_job(base: Login, report: Report) -> None:
    [worker] = base.jobs_of("w")
    before = tags(base.jobs_for("base"))
    base.type("scontrol", "requeue", worker)
    base.lab.run("scontrol", "update", f"jobid={worker}", "StartTime=now+1hour")  # else it waits for seconds, and a look may miss that
    base.wait(lambda: "BeginTime" in words(base), "it is told what it waits for", SECONDS)
    base.lab.run("scontrol", "update", f"jobid={worker}", "StartTime=now")
    base.wait(lambda: run(base, "base") == 2, "it runs again", SECONDS)
    assert ever(base, "base") == before


@pytest.mark.usefixtures("strangers")
def test_a_worker_that_is_cancelled_by_hand_is_replaced_alone(base: Login) -> None:
    [worker], heads = base.jobs_of("w"), base.jobs_of("head")
    base.type("scancel", worker)
    base.wait(lambda: len(base.jobs_of("w")) == 1 and base.jobs_of("w") != [worker], "another worker has a job", SECONDS)
    assert base.jobs_of("head") == heads


def test_a_worker_that_is_suspended_is_told_and_nothing_is_done_about_it(base: Login) -> None:
    base.wait(lambda: run(base, "base") == 2, "there is a worker that runs", SECONDS)
    [worker], before = base.jobs_of("w"), tags(base.jobs_for("base"))
    base.lab.run("scontrol", "suspend", worker)
    base.wait(lambda: f"job {worker} stands still" in words(base), "it is told", SECONDS)
    base.lab.run("scontrol", "resume", worker)
    base.wait(lambda: "stands still" not in words(base), "it goes on", SECONDS)
    assert tags(base.jobs_for("base")) == before


def test_what_slurm_has_forgotten_is_submitted_again_and_its_numbers_are_somebody_elses(base: Login, bob: Login) -> None:
    before = tags(base.jobs_for("base"))
    base.lab.wait_saved()
    with base.lab.losing_what_happens():
        apply(base, "lost", 1)
        forgotten = base.jobs_for("lost")
    others = [bob.sleeps() for _ in forgotten]
    assert sorted(others) == sorted(job.id for job in forgotten), "the numbers are given again"
    base.wait(lambda: run(base, "lost") == 2, "they are submitted again", SECONDS)
    again = base.jobs_for("lost", ended=True)
    assert len(again) == 2 and not {job.id for job in again} & set(others)
    assert not {job.comment for job in again} & {job.comment for job in forgotten}
    assert tags(base.jobs_for("base")) == before
    down(base, "lost")
    assert bob.states(*others) == {"R"}
    bob.type("scancel", *others)
    wait_for(lambda: sleepers(base) == 2, "of what was forgotten nothing runs on", SECONDS)


def sleepers(login: Login) -> int:
    """How many jobs of her clusters have processes on the nodes."""
    return sum(is_sleeper(process, login.user.uid) for node in login.lab.nodes for process in node.place.processes())


def is_sleeper(process: psutil.Process, uid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.uids().real == uid and process.cmdline() == ["sleep", "3600"]
    return False


def test_a_full_directory_is_told_and_nothing_is_submitted_until_there_is_room(base: Login) -> None:
    before = tags(base.jobs_for("base"))
    file = base.shared / "late.yaml"
    file.write_text(cluster("late"))
    with base.lab.full():
        base.matrix("apply", str(file))
        base.wait(lambda: "No space left" in base.matrix("why", "mxc/late", status=None), "it is told", SECONDS)
        assert base.jobs_for("late") == [] and tags(base.jobs_for("base")) == before
    base.wait(lambda: run(base, "late") == 1, "there is room", SECONDS)
    down(base, "late")
    assert tags(base.jobs_for("base")) == before


def bridge(login: Login, *, status: int | None = UNAVAILABLE) -> str:
    """What a bridge to a hub that does not answer says, which is refused the site."""
    token = login.shared / "token"
    login.type("sh", "-c", f"umask 077; echo token > {token}")
    return login.matrix("bridge", "run", *ANSWERS_NOT, "--token-file", str(token), status=status)


def agent_of(login: Login) -> str:
    return f"process {login.controller()} on host {login.place.name}"


def test_a_second_agent_is_refused_on_either_login_node(base: Login) -> None:
    before, first = ever(base, "base"), agent_of(base)
    there = replace(base, number=1)
    for login in (base, there):
        told = bridge(login)
        assert told.count("\n") == 1 and first in told and "an agent works on" in told
    told = there.matrix("apply", str(base.shared / "base.yaml"), status=UNAVAILABLE)
    assert f"in use by the controller on host {base.place.name} (process {base.controller()})" in told
    assert ever(base, "base") <= before


def test_of_two_agents_on_two_login_nodes_one_acts_though_the_first_was_only_frozen(base: Login, report: Report) -> None:
    before, first, pid = ever(base, "base"), agent_of(base), str(base.controller())
    living = tags(base.jobs_for("base"))
    there = replace(base, number=1, also={"MATRIX_HOME": str(base.user.home / "another")})
    (base.shared / "second.yaml").write_text(cluster("second", w=1))
    there.matrix("apply", str(base.shared / "second.yaml"))
    base.wait(lambda: first in there.matrix("why", "mxc/second", status=None), "the second controller names the agent", SECONDS)
    assert there.jobs_for("second") == []

    base.type("kill", "-STOP", pid)
    try:
        began = time.monotonic()
        base.wait(lambda: run(there, "second") == 2, "the second agent has taken over", SECONDS)
        report(f"agent frozen: one on another login node has taken over, and its jobs run, after {time.monotonic() - began:.0f} s")
    finally:
        base.type("kill", "-CONT", pid)
    (base.shared / "base.yaml").write_text(cluster("base", w=2))
    base.matrix("apply", str(base.shared / "base.yaml"))
    base.wait(lambda: agent_of(there) in base.matrix("why", "mxc/base", status=None), "the first one steps back", SECONDS)
    assert ever(base, "base") <= before and len(ever(there, "second")) == 2

    down(there, "second")
    there.matrix("controller", "stop", status=None)
    base.wait(lambda: run(base, "base") == 3, "the first one has the site again", SECONDS)
    assert living < tags(base.jobs_for("base"))


def test_jobs_of_that_name_by_others_are_not_touched_to_the_last(base: Login, bob: Login, strangers: list[str]) -> None:
    assert base.states(*strangers) == {"R"}
    down(base, "base")
    assert base.states(*strangers) == {"R"} and base.queue()[0].id in strangers
    for login in (base, bob):
        login.type("scancel", *strangers, status=None)


def test_a_worker_that_takes_more_memory_than_it_gets_is_told_in_words(slurm_lab_with_cgroups: SlurmLab) -> None:
    lab = slurm_lab_with_cgroups
    alice = Login(lab, lab.users["alice"])
    alice.shared.mkdir(mode=0o700, exist_ok=True)
    os.chown(alice.shared, alice.user.uid, alice.user.uid)
    with_jobs_that(alice, HOG)
    (alice.shared / "hog.yaml").write_text(cluster("hog", w=1))
    alice.matrix("apply", str(alice.shared / "hog.yaml"))
    alice.wait(lambda: "it used more memory than it gets (Slurm: OUT_OF_MEMORY" in words(alice), "it is told", SECONDS)
    assert len(alice.jobs_of("head")) == 1
    down(alice, "hog")
