"""The agent's loop over a Slurm in memory, with a real journal, lock and shared directory."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import pytest

from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Node
from matrix_slurm_bridge.agent import decide, ledger, loop
from matrix_slurm_bridge.agent.errors import LockLost
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.lock import AgentLock
from matrix_slurm_bridge.agent.loop import Agent
from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.node.record import FILE, HeadPorts, HeadRecord
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus
from matrix_slurm_bridge.render.profile import ProfileDirectives
from matrix_slurm_bridge.slurm.port import JobPhase
from tests import waiting
from tests.unit.slurm_agent.fake_slurm import FakeSlurm
from tests.unit.slurm_agent.samples import UID, spec, tag

PATIENCE = 30.0
P = ParamSpec("P")


def in_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """The test as pytest runs it."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def wish(phase: ClusterDesired.Phase = ClusterDesired.PRESENT, text: str = "", uid: str = UID, generation: int = 1) -> ClusterDesired:
    secrets = {"ray-token": b"r", "client-token": b"c"} if phase == ClusterDesired.PRESENT else {}
    text = text or spec(gpu=1)
    return ClusterDesired(
        uid=uid, namespace="default", name="lab", generation=generation, phase=phase, attempt=1, spec=text, secrets=secrets
    )


@asynccontextmanager
async def running(slurm: FakeSlurm, shared: Path, **limits: int) -> AsyncIterator[Agent]:
    settings = AgentSettings("fair", shared, {"default": ProfileDirectives("default", "/usr/bin/python3")}, poll_seconds=1.0, **limits)
    lock = AgentLock(shared / "agent")
    lock.acquire()
    journal = Journal(shared / "agent" / "journal.db")
    agent = Agent(slurm, lambda: settings, journal, lock)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        journal.close()
        lock.release()


async def until(agent: Agent, holds: Callable[[ClusterReport], bool], uid: str = UID) -> ClusterReport:
    async def wait() -> ClusterReport:
        with agent.listening() as changed:
            while True:
                found = agent.report(uid)
                if found is not None and holds(found):
                    return found
                await changed.wait()
                changed.clear()

    return await asyncio.wait_for(wait(), PATIENCE)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SETTLING_SECONDS", 0.05), ("SOONEST_SECONDS", 0.01), ("WORDS_SECONDS", 0.02)):
        monkeypatch.setattr(loop, name, seconds)


def bring_up(slurm: FakeSlurm, shared: Path, serial: int = 1) -> None:
    """As the head's program would: its job runs, and its record says so."""
    job = next(one for one in slurm.queue if one.tag == tag(serial=serial))
    slurm.change(job, phase=JobPhase.RUNNING, started_at=datetime.now(UTC), host="n1")
    directory = shared / "clusters" / UID
    (directory / "nodes" / f"head-1-{serial}.json").write_text(NodeStatus(phase=NodePhase.RUNNING).model_dump_json(by_alias=True))
    ports = HeadPorts(gcs=1, dashboard=2, state=3, directory=4, gateway=5)
    record = HeadRecord(uid=UID, attempt=1, serial=serial, host="n1", address="10.0.0.1", ports=ports, up=True)
    (directory / FILE).write_text(record.model_dump_json(by_alias=True))


@in_a_loop
async def test_from_a_wish_to_a_head_with_an_address_and_back_to_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish())
        told = await until(agent, lambda report: report.head.message.startswith("job 101 waits in partition gpu: "))
        assert told.presence == ClusterReport.PRESENT and told.head.phase == Node.STARTING and told.workers[0].name == "gpu-0"
        secret = tmp_path / "clusters" / UID / "secrets" / "ray-token"
        assert secret.read_bytes() == b"r" and stat.S_IMODE(secret.stat().st_mode) == 0o600
        bring_up(slurm, tmp_path)
        told = await until(agent, lambda report: report.HasField("address"))
        assert (told.address.host, told.address.gateway_port, told.head.phase) == ("10.0.0.1", 5, Node.RUNNING)
        assert told.address.model_cache_dir == str(tmp_path / "models") and told.template_hash
        agent.want(wish(ClusterDesired.DELETE))
        gone = await until(agent, lambda report: report.presence == ClusterReport.ABSENT)
        assert (gone.phase, gone.generation, gone.attempt) == (ClusterDesired.DELETE, 1, 1)
        assert not (tmp_path / "clusters" / UID).exists()
        assert {job.phase for job in slurm.queue} == {JobPhase.ENDED}


@in_a_loop
async def test_another_agent_goes_on_from_the_journal_without_a_hub(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish())
        await until(agent, lambda report: report.head.job_id == "101" and bool(report.workers[0].job_id))
    head = slurm.queue[0]
    slurm.change(head, phase=JobPhase.LOST, state="NODE_FAIL", started_at=datetime(2026, 1, 1, tzinfo=UTC), ended_at=datetime.now(UTC))
    async with running(slurm, tmp_path) as agent:
        told = await until(agent, lambda report: report.head.job_id == "103")
        assert told.head.phase == Node.RECOVERING and not told.claimed
    assert [job.tag for job in slurm.queue] == [tag(), tag("gpu"), tag(serial=2)]
    assert slurm.queue[1].phase is JobPhase.WAITING


@in_a_loop
async def test_a_head_that_is_lost_while_another_stands_by_is_followed_by_that_one(tmp_path: Path) -> None:
    slurm, nodes = FakeSlurm(), tmp_path / "clusters" / UID / "nodes"
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text="{}"))
        await until(agent, lambda report: report.head.job_id == "101")
        bring_up(slurm, tmp_path)
        now = datetime.now(UTC)
        slurm.change(slurm.queue[0], started_at=now - timedelta(minutes=8), ends_at=now + timedelta(minutes=2))
        told = await until(agent, lambda report: report.HasField("expires_at") and len(slurm.queue) == 2)
        waits = nodes / "head-1-2.standby"
        assert told.head.job_id == "101" and told.HasField("address") and waits.exists()
        slurm.change(slurm.queue[0], phase=JobPhase.LOST, state="NODE_FAIL", ended_at=datetime.now(UTC))
        await until(agent, lambda report: report.head.job_id == "102")
        await waiting.until(lambda: not waits.exists())
        bring_up(slurm, tmp_path, 2)
        await until(agent, lambda report: report.head.job_id == "102" and report.HasField("address"))
    assert len(slurm.scripts) == 2


@in_a_loop
async def test_a_worker_that_is_not_wanted_is_asked_to_drain_and_cancelled_when_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm, nodes = FakeSlurm(), tmp_path / "clusters" / UID / "nodes"
    async with running(slurm, tmp_path) as agent:
        agent.want(wish())
        await until(agent, lambda report: bool(report.workers and report.workers[0].job_id))
        slurm.change(slurm.queue[1], phase=JobPhase.RUNNING, started_at=datetime.now(UTC))
        agent.want(wish(text=spec(gpu=0), generation=2))
        await waiting.until((nodes / "gpu-0-1-1.drain").exists)
        assert slurm.queue[1].phase is JobPhase.RUNNING
        monkeypatch.setattr(decide, "DRAIN_SECONDS", 0.0)
        await waiting.until(lambda: slurm.queue[1].phase is JobPhase.ENDED)


@in_a_loop
async def test_how_a_job_ended_while_no_agent_was_there_is_asked_of_the_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "FORGOTTEN", timedelta(0))
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text="{}"))
        await until(agent, lambda report: report.head.job_id == "101")
    job = slurm.queue.pop()
    slurm.past = [replace(job, phase=JobPhase.ENDED, state="OUT_OF_MEMORY", reason="OutOfMemory")]
    async with running(slurm, tmp_path) as agent:
        told = await until(agent, lambda report: "(Slurm: OUT_OF_MEMORY" in report.head.message)
    assert told.head.message.startswith("job 101 has ended: it used more memory than it gets")


@in_a_loop
async def test_a_submission_whose_answer_is_lost_is_not_made_again(tmp_path: Path) -> None:
    slurm = FakeSlurm(silent=True)
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text="{}"))
        told = await until(agent, lambda report: report.head.job_id == "101")
        slurm.change(slurm.queue[0], reason="Resources")
        await until(agent, lambda report: "Resources" in report.head.message)
        assert told.head.phase == Node.STARTING and len(slurm.scripts) == 1


@in_a_loop
async def test_while_slurm_does_not_answer_nothing_is_known_and_nothing_is_done(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text="{}"))
        await until(agent, lambda report: report.head.job_id == "101")
        slurm.away = "Unable to contact slurm controller"
        agent.want(wish(ClusterDesired.DELETE))
        told = await until(agent, lambda report: report.presence == ClusterReport.UNKNOWN)
        assert told.message == "Unable to contact slurm controller" and slurm.queue[0].phase is JobPhase.WAITING
        slurm.away = ""
        await until(agent, lambda report: report.presence == ClusterReport.ABSENT)


@in_a_loop
async def test_what_slurm_refuses_is_told_in_its_words_and_leaves_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm(refuses="Invalid account or account/partition combination specified")
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text="{}"))
        told = await until(agent, lambda report: report.HasField("refusal"))
        assert told.refusal.reason == "InvalidSpec" and "Invalid account" in told.refusal.message
        assert told.presence == ClusterReport.ABSENT


@in_a_loop
async def test_an_unknown_profile_is_refused_before_anything_is_submitted(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(text='{"backend": {"slurm": {"site": "fair", "profile": "huge"}}}'))
        told = await until(agent, lambda report: report.HasField("refusal"))
        assert told.refusal.message == "site fair has no profile huge; it has default" and not slurm.scripts


@in_a_loop
async def test_the_limits_of_the_site_count(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    other = UID.replace("0f1e", "1f1e")
    async with running(slurm, tmp_path, max_clusters=1) as agent:
        agent.want(wish(text="{}"))
        await until(agent, lambda report: bool(report.head.job_id))
        agent.want(wish(text="{}", uid=other))
        told = await until(agent, lambda report: report.HasField("refusal"), other)
        assert "maxClusters" in told.refusal.message and len(slurm.scripts) == 1


@in_a_loop
async def test_a_wish_that_makes_no_sense_is_told_and_harms_nobody(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as agent:
        agent.want(wish(uid="../../etc"))
        told = await until(agent, lambda report: report.presence == ClusterReport.UNKNOWN, "../../etc")
        assert "no uid of a cluster" in told.message
        agent.want(wish(text="{}"))
        await until(agent, lambda report: bool(report.head.job_id))


@in_a_loop
async def test_an_agent_whose_lock_was_taken_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HEARTBEAT_SECONDS", 0.05)
    lock = AgentLock(tmp_path / "agent")
    lock.acquire()
    settings = AgentSettings("fair", tmp_path, {})
    agent = Agent(FakeSlurm(), lambda: settings, Journal(tmp_path / "agent" / "journal.db"), lock)
    task = asyncio.create_task(agent.run())
    (tmp_path / "agent" / "lock").unlink()
    with pytest.raises(LockLost):
        await asyncio.wait_for(task, PATIENCE)
