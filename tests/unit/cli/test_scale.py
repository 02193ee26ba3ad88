"""`matrix scale` and `matrix rollout`: one field of a spec, whoever else writes to the object."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from matrix_cli.commands.rollout import set_restarted, timestamp
from matrix_cli.exits import Exit
from matrix_client.changes import change_spec
from matrix_client.verdict import State, judge_rollout
from matrix_store.errors import Conflict
from matrix_store.port import Raw, Store
from matrix_store.sqlite import SqliteStore
from tests.unit.cli.runner import records, run, write
from tests.unit.cli.test_change import meanwhile
from tests.unit.client.worlds import CHAT, LAB, World, condition


def rolled(ready: int, desired: int, *, up_to_date: str = "True", reason: str = "Ready", generation: int = 1, message: str = "") -> Raw:
    """A deployment's status."""
    enough = "True" if ready >= desired else "False"
    words = f"{ready} of {desired} replicas ready"
    conditions = [
        condition("UpToDate", up_to_date, reason, message, generation=generation),
        condition("ReplicasReady", enough, "Ready" if enough == "True" else "Starting", words, generation=generation),
        condition("Ready", enough, "Ready", words, generation=generation),
    ]
    return {"observedGeneration": generation, "conditions": conditions, "replicas": {"desired": desired, "ready": ready}}


def spec(world: World) -> dict[str, Any]:
    found = world.find(CHAT)
    assert found is not None
    return dict(found.raw["spec"])


def test_scale_changes_the_replicas_and_nothing_else(managed: World) -> None:
    before = spec(managed)
    result = run(managed, "scale", "mxd/chat", "--replicas", "3")

    assert (result.exit_code, result.stdout) == (Exit.OK, "ModelDeployment/chat scaled from 1 to 3\n")
    assert spec(managed) == before | {"replicas": 3}
    assert run(managed, "scale", "mxd/chat", "--replicas", "3").stdout == "ModelDeployment/chat unchanged (3 replicas)\n"
    assert records(run(managed, "scale", "mxd/chat", "--replicas", "1", "-o", "json")) == [
        {"object": "ModelDeployment/chat", "replicasBefore": 3, "replicas": 1}
    ]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("mxd/chat", "--replicas", "-1"), Exit.INVALID, "-1 is not in the range"),
        (("mxd/chat", "--replicas", "many"), Exit.INVALID, "not a valid integer"),
        (("mxd/chat", "--replicas", "20000"), Exit.INVALID, "spec.replicas: must be at most 10000"),
        (("mxd/chat",), Exit.INVALID, "Missing option '--replicas'"),
        (("mxc/lab", "--replicas", "2"), Exit.INVALID, "a MatrixCluster has no replicas; change spec.workerGroups[].replicas"),
        (("mxd/chta", "--replicas", "2"), Exit.NOT_FOUND, "did you mean ModelDeployment/chat?"),
    ],
)
def test_nonsense_is_refused_in_one_line(managed: World, words: tuple[str, ...], code: Exit, says: str) -> None:
    before = spec(managed)
    result = run(managed, "scale", *words)

    assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1)
    assert says in result.stderr
    assert spec(managed) == before


def test_what_was_done_before_a_mistake_is_told(managed: World) -> None:
    result = run(managed, "scale", "mxd/chat", "mxd/nothing", "--replicas", "3")

    assert (result.exit_code, result.stdout) == (Exit.NOT_FOUND, "ModelDeployment/chat scaled from 1 to 3\n")
    assert spec(managed)["replicas"] == 3


def test_what_scales_by_demand_is_not_scaled_by_hand(managed: World) -> None:
    managed.put(CHAT, spec=spec(managed) | {"autoscale": {"min": 1, "max": 4}})
    result = run(managed, "scale", "mxd/chat", "--replicas", "2")

    assert result.exit_code == Exit.INVALID
    assert "scales by demand (1 to 4 replicas); change spec.autoscale" in result.stderr


def test_scale_can_wait_until_those_too_many_are_gone(managed: World) -> None:
    managed.put(CHAT, rolled(2, 2), spec=spec(managed) | {"replicas": 2})

    def work() -> None:
        managed.put(CHAT, rolled(2, 1, generation=3), spec=spec(managed))
        with meanwhile(lambda: managed.put(CHAT, rolled(1, 1, generation=3), spec=spec(managed))):
            pass

    with meanwhile(work):
        result = run(managed, "scale", "mxd/chat", "--replicas", "1", "--wait", "--timeout", "30s")

    assert result.exit_code == Exit.OK, result.stderr
    assert [line.strip().partition("  ")[2] for line in result.stderr.splitlines()] == [
        "ModelDeployment/chat: waiting for the controller to look at it",
        "ModelDeployment/chat: RollingOut: 1 too many; they finish their requests and go",
        "ModelDeployment/chat: 1 of 1 replicas ready",
    ]


def test_waiting_too_long_has_its_exit_code(managed: World) -> None:
    assert run(managed, "scale", "mxd/chat", "--replicas", "2", "--wait", "--timeout", "0.3").exit_code == Exit.TIMEOUT
    assert spec(managed)["replicas"] == 2


def test_restart_writes_the_time(managed: World, tmp_path: Path) -> None:
    result = run(managed, "rollout", "restart", "mxd/chat", "mxc/lab")

    assert result.exit_code == Exit.OK, result.stderr
    assert result.stdout.splitlines()[0] == "ModelDeployment/chat restarts; follow it: matrix rollout status ModelDeployment/chat"
    cluster = managed.find(LAB)
    assert cluster is not None
    for section in (spec(managed)["rollout"], cluster.raw["spec"]["upgradePolicy"]):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(section["restartedAt"].replace("Z", "+00:00"))).total_seconds()) < 60


def test_restart_keeps_what_the_section_had() -> None:
    changed: Raw = {"rollout": {"surgePercent": 100}, "replicas": 2}
    set_restarted(CHAT, timestamp(datetime(2026, 1, 31, 12, tzinfo=UTC)))(changed)

    assert changed == {"rollout": {"surgePercent": 100, "restartedAt": "2026-01-31T12:00:00Z"}, "replicas": 2}


def test_rollout_status_waits_and_shows_how_far_it_is(managed: World) -> None:
    managed.put(CHAT, rolled(2, 2, up_to_date="False", reason="RollingOut", message="1 of 2 replicas updated"))
    with meanwhile(lambda: managed.put(CHAT, rolled(2, 2))):
        result = run(managed, "rollout", "status", "mxd/chat")

    assert result.exit_code == Exit.OK, result.stderr
    assert [line.strip().partition("  ")[2] for line in result.stderr.splitlines()] == [
        "ModelDeployment/chat: RollingOut: 1 of 2 replicas updated",
        "ModelDeployment/chat: 2 of 2 replicas ready",
    ]


def test_rollout_status_gives_up_in_time(managed: World) -> None:
    managed.put(CHAT, rolled(2, 2, up_to_date="False", reason="RollingOut", message="1 of 2 replicas updated"))
    result = run(managed, "rollout", "status", "mxd/chat", "--timeout", "0.3")

    assert result.exit_code == Exit.TIMEOUT
    assert "still not rolled out after 0.3 s (RollingOut: 1 of 2 replicas updated)" in result.stderr


def test_a_change_that_is_held_back_is_not_waited_for(managed: World) -> None:
    held = condition("UpToDate", "False", "TemplateChanged", "spec.head has changed; it waits")
    managed.put(LAB, {"observedGeneration": 1, "conditions": [held, condition("Ready", "True", "Ready")]})
    result = run(managed, "rollout", "status", "mxc/lab", "--timeout", "30s")

    assert result.exit_code == Exit.FAILED
    assert "TemplateChanged" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (rolled(2, 2), State.DONE),
        (rolled(1, 2), State.WAITING),
        (rolled(3, 2), State.WAITING),
        (rolled(2, 2, generation=0), State.WAITING),
        (rolled(2, 2, up_to_date="False", reason="RollingOut"), State.WAITING),
        (rolled(2, 2, up_to_date="False", reason="RejectedByServe"), State.STUCK),
    ],
)
def test_when_a_rollout_is_done(world: World, status: Raw, state: State) -> None:
    assert judge_rollout(world.put(CHAT, status), {}).state is state


class Rival:
    """A store on which somebody else writes right after every read."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store, self._left = store, writes
        self.write_spec = store.write_spec

    async def get(self, key: Any) -> Any:
        stored = await self._store.get(key)
        if self._left:
            self._left -= 1
            await self._store.write_status(key, {"summary": str(self._left)}, resource_version=stored.resource_version)
        return stored


def test_whoever_else_writes_nothing_is_lost(world: World) -> None:
    def one_more(spec: Raw) -> None:
        spec["replicas"] += 1

    async def body() -> None:
        store = await SqliteStore.open(world.home.database)
        try:
            changed, before = await change_spec(Rival(store, 3), CHAT, one_more)  # type: ignore[arg-type]
            assert (before["replicas"], changed.raw["spec"]["replicas"], changed.raw["status"]) == (1, 2, {"summary": "0"})
            await asyncio.gather(*(change_spec(store, CHAT, one_more) for _ in range(8)))
            assert (await store.get(CHAT)).raw["spec"]["replicas"] == 10
            with pytest.raises(Conflict):
                await change_spec(Rival(store, 5), CHAT, one_more, attempts=5)  # type: ignore[arg-type]
        finally:
            await store.close()

    asyncio.run(body())


def test_what_is_being_deleted_is_not_changed(managed: World) -> None:
    managed.keep(CHAT)
    managed.delete(CHAT)
    result = run(managed, "scale", "mxd/chat", "--replicas", "2")

    assert result.exit_code == Exit.FAILED
    assert "is being deleted" in result.stderr


def test_a_manifest_file_can_still_be_applied_after_scaling(managed: World, tmp_path: Path) -> None:
    run(managed, "scale", "mxd/chat", "--replicas", "3")

    assert run(managed, "apply", write(tmp_path)).exit_code == Exit.OK
    assert spec(managed)["replicas"] == 1
