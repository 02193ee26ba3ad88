"""`matrix controller`: status, stop, and the foreground."""

from __future__ import annotations

import asyncio
import json
import os

from matrix_cli.exits import Exit
from matrix_client import controller
from tests.unit.cli.runner import run
from tests.unit.client.worlds import World, controller_command


def test_status_says_whether_it_runs(managed_empty: World) -> None:
    result = run(managed_empty, "controller", "status")
    record = json.loads(run(managed_empty, "controller", "status", "-o", "json").stdout)

    assert (result.exit_code, result.stdout) == (
        Exit.OK,
        f"running: process {os.getpid()}, log {managed_empty.home.controller_log}\n",
    )
    assert (record["running"], record["pid"]) == (True, os.getpid())


def test_status_of_none_is_unavailable(empty: World) -> None:
    result = run(empty, "controller", "status")

    assert (result.exit_code, result.stdout) == (Exit.UNAVAILABLE, "not running; start it with `matrix controller run --detach`\n")
    assert json.loads(run(empty, "controller", "status", "-o", "json").stdout)["running"] is False


def test_stop_ends_it(empty: World) -> None:
    asyncio.run(controller.ensure_running(empty.home, controller_command(empty.home)))

    assert run(empty, "controller", "stop").stdout == "stopped; what runs goes on\n"
    assert run(empty, "controller", "stop").stdout == "it was not running\n"


def test_one_that_runs_is_not_started_again(managed_empty: World) -> None:
    assert run(managed_empty, "controller", "run", "--detach").exit_code == Exit.OK


def test_an_unknown_orphan_is_not_ended(empty: World) -> None:
    result = run(empty, "controller", "end-orphan", "no-such-uid")

    assert result.exit_code == Exit.FAILED
    assert "no-such-uid is no Ray without a record" in result.stderr
