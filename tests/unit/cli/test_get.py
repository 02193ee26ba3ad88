"""`matrix get`: tables, JSON, YAML, names; by kind, by name, everything; watching."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
import yaml

from matrix_cli.exits import Exit
from tests.unit.cli.runner import records, run
from tests.unit.client.worlds import CHAT, LAB, World, ready


def test_a_table_of_a_kind_has_the_printer_columns(world: World) -> None:
    result = run(world, "get", "mxd")

    assert result.exit_code == Exit.OK
    header, row = result.stdout.splitlines()
    assert header.split() == ["NAME", "READY", "MODEL", "REPLICAS", "SUMMARY", "AGE"]
    assert row.split()[:-1] == ["chat", "False", "chat", "0/1", "weights,", "20", "%"]


@pytest.mark.parametrize("words", [(), ("matrix",), ("all",)])
def test_everything_is_shown_by_kind_with_names_that_can_be_used(world: World, words: tuple[str, ...]) -> None:
    clusters, deployments = run(world, "get", *words).stdout.split("\n\n")

    assert "mxc/lab" in clusters and "BACKEND" in clusters
    assert "mxd/chat" in deployments and "REPLICAS" in deployments


def test_wide_adds_the_reason_and_the_endpoint(world: World) -> None:
    world.put(LAB, ready(endpoints=[{"name": "openai", "url": "http://127.0.0.1:1/v1", "scope": "Machine"}]))
    assert "http://127.0.0.1:1/v1" in run(world, "get", "mxc", "-o", "wide").stdout
    assert "http://127.0.0.1:1/v1" not in run(world, "get", "mxc").stdout
    header, row = run(world, "get", "mxd", "-o", "wide").stdout.splitlines()

    assert "REASON" in header
    assert row[header.index("REASON") :].startswith("Loading")


@pytest.mark.parametrize(
    "words", [("mxd/chat",), ("modeldeployment", "chat"), ("ModelDeployment/default/chat",), ("modeldeployments/chat",)]
)
def test_one_object_by_any_of_its_names(world: World, words: tuple[str, ...]) -> None:
    assert run(world, "get", *words, "-o", "name").stdout == "ModelDeployment/chat\n"


def test_one_object_as_json_and_yaml_is_the_object(world: World) -> None:
    by_json = json.loads(run(world, "get", "mxc/lab", "-o", "json").stdout)
    by_yaml = yaml.safe_load(run(world, "get", "mxc/lab", "-o", "yaml").stdout)

    assert by_json == by_yaml
    assert by_json["metadata"]["name"] == "lab"
    assert by_json["status"]["backend"] == "Local"


def test_several_objects_as_json_are_a_list(world: World) -> None:
    listed = json.loads(run(world, "get", "-o", "json").stdout)

    assert listed["kind"] == "List"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["lab", "chat"]


def test_several_kinds_can_be_named(world: World) -> None:
    assert run(world, "get", "mxc,mxd", "-o", "name").stdout.splitlines() == ["MatrixCluster/lab", "ModelDeployment/chat"]


def test_a_namespace_has_its_own_objects(world: World) -> None:
    there = LAB._replace(namespace="team")
    world.put(there, ready())

    assert run(world, "get", "mxc", "-n", "team", "-o", "name").stdout == "MatrixCluster/team/lab\n"
    header, *rows = run(world, "get", "mxc", "-A").stdout.splitlines()
    assert header.split()[:2] == ["NAMESPACE", "NAME"]
    assert [row.split()[:2] for row in rows] == [["default", "lab"], ["team", "lab"]]


def test_a_common_option_may_stand_before_or_after_the_command(world: World) -> None:
    assert run(world, "-n", "team", "get", "mxc").stdout == run(world, "get", "mxc", "-n", "team").stdout == ""


def test_an_object_that_is_being_deleted_says_so(world: World) -> None:
    world.keep(LAB)
    world.delete(LAB)

    assert "Deleting" in run(world, "get", "mxc/lab").stdout


def test_nothing_is_told_on_stderr_with_what_to_do(empty: World) -> None:
    result = run(empty, "get")

    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert result.stderr == "nothing here in namespace default; start something with `matrix up FILE`\n"
    assert json.loads(run(empty, "get", "-o", "json").stdout)["items"] == []


def test_an_unknown_name_gets_a_suggestion(world: World) -> None:
    result = run(world, "get", "mxd/chta")

    assert result.exit_code == Exit.NOT_FOUND
    assert result.stderr == "error: ModelDeployment/chta does not exist; did you mean ModelDeployment/chat?\n"


def test_a_name_of_another_kind_gets_a_suggestion(world: World) -> None:
    assert run(world, "get", "mxd/lab").stderr == "error: ModelDeployment/lab does not exist; did you mean MatrixCluster/lab?\n"


WRONG = [
    (("get", "pods"), "there is no kind 'pods'"),
    (("get", "mxd/"), "names no object; write KIND/NAME"),
    (("get", "a/b/c/d"), "names no object; write KIND/NAME"),
    (("get", "-o", "xml"), "is not one of"),
    (("describe", "mxd"), "which ModelDeployment? write mxd/NAME"),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_wrong_words_are_one_line_and_exit_code_2(world: World, words: tuple[str, ...], says: str) -> None:
    result = run(world, *words)

    assert result.exit_code == Exit.INVALID
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_watching_shows_what_changes_until_it_is_interrupted(world: World) -> None:
    command = [sys.executable, "-m", "matrix_cli", "--home", str(world.home.root), "get", "-w", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None

        def line() -> dict[str, Any]:
            assert process.stdout is not None
            return json.loads(process.stdout.readline())  # type: ignore[no-any-return]

        assert [line()["metadata"]["name"] for _ in range(2)] == ["lab", "chat"]
        world.put(CHAT, ready(message="1 of 1 replicas ready"))
        assert line()["status"]["summary"] == "1 of 1 replicas ready"
        world.delete(LAB)
        assert line() == {"deleted": "MatrixCluster/lab"}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == Exit.INTERRUPTED
        assert process.stderr.read().strip() == ""


def test_json_lines_of_events(world: World) -> None:
    world.tell(CHAT, "Loading", "weights", count=2)

    assert records(run(world, "events", "-o", "json"))[0]["count"] == 2
