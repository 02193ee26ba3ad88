"""`matrix diff` and `matrix apply --dry-run`: what would change, and only that."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click
import pytest

from matrix_cli.differences import coloured
from matrix_cli.exits import Exit
from matrix_store.database import Database
from tests.unit.cli.runner import MANIFESTS, run, write
from tests.unit.client.worlds import CHAT, World

FASTER = MANIFESTS.replace("dummy: {}", "dummy: {tokensPerSecond: 99}")


@pytest.fixture
def applied(managed_empty: World, tmp_path: Path) -> World:
    assert run(managed_empty, "apply", write(tmp_path)).exit_code == Exit.OK
    return managed_empty


def test_a_change_is_shown_as_a_diff_and_nothing_else_is(applied: World, tmp_path: Path) -> None:
    result = run(applied, "diff", write(tmp_path, FASTER))
    lines = result.stdout.splitlines()

    assert result.exit_code == Exit.FAILED
    assert lines[:2] == ["--- ModelDeployment/chat (stored)", "+++ ModelDeployment/chat (manifest)"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-      tokensPerSecond: 50", "+      tokensPerSecond: 99"]
    assert applied.find(CHAT).raw["spec"]["engine"]["dummy"]["tokensPerSecond"] == 50  # type: ignore[union-attr]


def test_no_change_is_nothing_at_all(applied: World, tmp_path: Path) -> None:
    result = run(applied, "diff", write(tmp_path))

    assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, "", "")


def test_what_would_be_created_is_shown_whole(empty: World, tmp_path: Path) -> None:
    result = run(empty, "diff", write(tmp_path))

    assert result.exit_code == Exit.FAILED
    assert "+  name: lab" in result.stdout and "+    dummy:" in result.stdout
    assert "uid" not in result.stdout and "status" not in result.stdout


def test_a_dry_run_says_of_each_object_what_would_happen(applied: World, tmp_path: Path) -> None:
    result = run(applied, "apply", "--dry-run", write(tmp_path, FASTER.replace("name: lab}", "name: lab, labels: {team: x}}", 1)))
    told = [line for line in result.stdout.splitlines() if not line.startswith(" ")]

    assert result.exit_code == Exit.OK
    assert [line for line in told if line.endswith("(dry run)")] == [
        "MatrixCluster/lab configured (dry run)",
    ]
    assert "ModelDeployment/chat configured (dry run); its replicas are replaced, as spec.rollout says" in told
    assert "+    team: x" in told and "+      tokensPerSecond: 99" in told
    assert "unchanged (dry run)" in run(applied, "apply", "--dry-run", write(tmp_path)).stdout


def test_a_change_that_is_live_is_told_apart(applied: World, tmp_path: Path) -> None:
    live = MANIFESTS + "  drainSeconds: 7\n  replicas: 3\n"

    assert (
        "ModelDeployment/chat configured (dry run); live: no replica is restarted\n"
        in run(applied, "apply", "--dry-run", write(tmp_path, live)).stdout
    )
    assert json.loads(run(applied, "diff", write(tmp_path, live), "-o", "json").stdout)[1]["replacesReplicas"] is False


def test_defaults_that_an_older_version_did_not_store_are_no_change(applied: World, tmp_path: Path) -> None:
    with closing(Database(applied.home.database)) as database:
        raw = database.objects.get(CHAT).raw
        del raw["spec"]["drainSeconds"], raw["spec"]["rollout"]
        database.connection.execute("UPDATE objects SET raw = ? WHERE name = 'chat'", (json.dumps(raw),))

    assert run(applied, "diff", write(tmp_path)).exit_code == Exit.OK
    assert "ModelDeployment/chat unchanged (dry run)" in run(applied, "apply", "--dry-run", write(tmp_path)).stdout


def test_what_is_stored_and_no_longer_valid_can_be_compared(applied: World, tmp_path: Path) -> None:
    with closing(Database(applied.home.database)) as database:
        raw = database.objects.get(CHAT).raw
        raw["spec"]["ofAnotherVersion"] = 1
        database.connection.execute("UPDATE objects SET raw = ? WHERE name = 'chat'", (json.dumps(raw),))

    assert "-  ofAnotherVersion: 1" in run(applied, "diff", write(tmp_path)).stdout


def test_what_is_not_valid_is_told_as_by_apply(applied: World, tmp_path: Path) -> None:
    file = write(tmp_path, MANIFESTS.replace("dummy:", "dumy:"))
    by_diff, by_apply = run(applied, "diff", file), run(applied, "apply", "--dry-run", file)

    assert by_diff.exit_code == by_apply.exit_code == Exit.INVALID
    assert by_diff.stderr == by_apply.stderr
    assert "did you mean dummy?" in by_diff.stderr


def test_json_has_both_sides(applied: World, tmp_path: Path) -> None:
    lab, chat = json.loads(run(applied, "diff", write(tmp_path, FASTER), "-o", "json").stdout)

    assert (lab["result"], chat["result"]) == ("unchanged", "configured")
    assert [chat[side]["spec"]["engine"]["dummy"]["tokensPerSecond"] for side in ("before", "after")] == [50, 99]


def test_a_diff_is_coloured_as_git_does() -> None:
    lines = ["--- a", "+++ b", "@@ -1 +1 @@", "-old", "+new", " same"]

    assert [click.unstyle(line) for line in coloured(lines)] == lines
    assert [line.startswith("\x1b[") for line in coloured(lines)] == [True] * 5 + [False]
