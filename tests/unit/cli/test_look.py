"""`matrix describe`, `events` and `logs`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import yaml

from matrix_cli.commands.logs import _parts_of_ray, _replicas
from matrix_cli.exits import Exit
from tests.unit.cli.runner import records, run
from tests.unit.client.worlds import CHAT, LAB, World, condition, ready


def test_describe_shows_what_it_waits_for_and_what_happened(world: World) -> None:
    world.tell(CHAT, "Loading", "weights, 20 %", count=3)
    text = run(world, "describe", "mxd/chat").stdout

    waits = re.search(r"Waits for:  Loading: weights, 20 % \(for (\d+)s\)", text)
    assert waits is not None and 90 <= int(waits[1]) < 118  # since the object was written, which is a moment ago
    assert "    source: hf://org/model" in text
    assert re.search(r"\n  Ready +False +Loading +\d+s +weights, 20 %\n", text)
    assert text.splitlines()[-1].split()[1:4] == ["Warning", "Loading", "3"]


def test_describe_says_when_waiting_is_no_use(world: World) -> None:
    world.put(LAB, ready("False", "PortTaken", "port 6379 is taken"))
    world.put(CHAT, ready("False", "ClusterNotReady", "MatrixCluster/lab is not ready"))

    assert "Stuck on:   PortTaken: MatrixCluster/lab: port 6379 is taken" in run(world, "describe", "mxd/chat").stdout


def test_describe_of_what_is_ready_waits_for_nothing_and_names_its_endpoints(world: World) -> None:
    world.put(CHAT, ready(endpoints=[{"name": "openai", "url": "http://127.0.0.1:1/v1", "scope": "Machine"}]))
    text = run(world, "describe", "mxd/chat").stdout

    assert "Waits for" not in text and "Stuck on" not in text
    assert "http://127.0.0.1:1/v1" in text


def test_describe_of_what_nobody_has_looked_at(empty: World) -> None:
    empty.put(LAB)

    assert "none yet: the controller has not looked at it" in run(empty, "describe", "mxc/lab").stdout


def test_the_lines_of_an_engine_stay_lines(world: World) -> None:
    failed = condition("Ready", "False", "BadArguments", "vLLM refuses its arguments\n  | error: unknown --foo\n  | usage: vllm")
    world.put(CHAT, {"observedGeneration": 1, "conditions": [failed]})
    lines = run(world, "describe", "mxd/chat").stdout.splitlines()

    assert any(line.strip() == "| error: unknown --foo" for line in lines)


def test_describe_as_json_and_yaml(world: World) -> None:
    world.tell(CHAT, "Loading", "weights")
    by_json = json.loads(run(world, "describe", "mxd/chat", "-o", "json").stdout)

    assert by_json["object"]["metadata"]["name"] == "chat"
    assert by_json["waitsFor"] == {"reason": "Loading", "message": "weights, 20 %", "stuck": False}
    assert by_json["events"][0]["reason"] == "Loading"
    assert yaml.safe_load(run(world, "describe", "mxd/chat", "-o", "yaml").stdout) == by_json


def test_describe_of_an_unknown_name(world: World) -> None:
    result = run(world, "describe", "mxc/lba")

    assert (result.exit_code, result.stderr) == (
        Exit.NOT_FOUND,
        "error: MatrixCluster/lba does not exist; did you mean MatrixCluster/lab?\n",
    )


def test_events_of_all_or_of_one(world: World) -> None:
    world.tell(LAB, "Starting", "the head")
    world.tell(CHAT, "Loading", "weights", count=2)

    assert [record["reason"] for record in records(run(world, "events", "-o", "json"))] == ["Starting", "Loading"]
    assert [record["object"]["name"] for record in records(run(world, "events", "mxd/chat", "-o", "json"))] == ["chat"]
    header, *rows = run(world, "events").stdout.splitlines()
    assert header.split() == ["LAST", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert rows[1].endswith("weights (x2)")


def test_no_events(empty: World) -> None:
    result = run(empty, "events")

    assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, "", "no events\n")


def test_the_controllers_log(empty: World) -> None:
    assert run(empty, "logs", "controller").exit_code == Exit.NOT_FOUND
    empty.home.controller_log.write_text("one\ntwo\nthree\n")

    assert run(empty, "logs", "controller", "--tail", "2").stdout == "two\nthree\n"
    assert run(empty, "logs", "controller", "--list").stdout == f"controller  {empty.home.controller_log}\n"


def test_an_unknown_component_is_told_what_there_is(empty: World) -> None:
    empty.home.controller_log.write_text("one\n")
    result = run(empty, "logs", "controller", "-c", "raylet")

    assert result.exit_code == Exit.INVALID
    assert "has no component 'raylet'; there is controller" in result.stderr


def test_a_cluster_without_logs_says_so(world: World) -> None:
    result = run(world, "logs", "mxc/lab")

    assert result.exit_code == Exit.NOT_FOUND
    assert result.stderr == "error: mxc/lab has no logs yet; see `matrix why mxc/lab`\n"


def test_a_deployment_has_its_own_replicas_and_the_cluster_the_rest(tmp_path: Path) -> None:
    names = [
        "raylet",
        "serve/controller_17",
        "serve/replica_mx-system_Directory_a1",
        "serve/replica_mx-md-chat_Replica_new",
        "serve/replica_mx-md-chat_Replica_old",
        "serve/replica_mx-md-chat-two_Replica_x",
        "serve/controller_build_mx-md-chat_99",
        "output/mx-md-chat_Replica_4711",
    ]
    files = {name: tmp_path / name.replace("/", "_") for name in names}
    for age, path in enumerate(files.values()):
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))

    assert list(_parts_of_ray(files)) == names[:3]
    assert list(_replicas(files, CHAT)) == ["output/4711", "build/99", "replica/old", "replica/new"]


def test_describe_shows_the_last_events_and_says_where_the_others_are(world: World) -> None:
    for number in range(25):
        world.tell(CHAT, "Loading", f"part {number}")
    lines = run(world, "describe", "mxd/chat").stdout.splitlines()

    assert sum("part " in line for line in lines) == 20
    assert lines[-1] == "  5 earlier: matrix events ModelDeployment/chat"
    assert len(json.loads(run(world, "describe", "mxd/chat", "-o", "json").stdout)["events"]) == 25
