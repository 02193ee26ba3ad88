"""Every error is a line on stderr that says what to do, with an exit code; never a traceback, unless asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from matrix_cli.colours import coloured
from matrix_cli.exits import Exit
from matrix_cli.failure import Interrupted, report
from matrix_client import errors as client
from matrix_crds.errors import ManifestError, Problem, UnknownKind
from matrix_store import errors as store
from tests.unit.cli.runner import run
from tests.unit.client.worlds import LAB, World

TABLE: list[tuple[BaseException, Exit]] = [
    (ManifestError([Problem(("spec",), "is wrong")]), Exit.INVALID),
    (UnknownKind("there is no such kind"), Exit.INVALID),
    (client.UsageError("no context"), Exit.INVALID),
    (click.UsageError("no such option"), Exit.INVALID),
    (store.NotFound("gone"), Exit.NOT_FOUND),
    (client.ObjectGone("gone"), Exit.NOT_FOUND),
    (client.WaitTimeout("late"), Exit.TIMEOUT),
    (client.RequestTimeout("late"), Exit.TIMEOUT),
    (store.Busy("held"), Exit.UNAVAILABLE),
    (store.Full("full"), Exit.UNAVAILABLE),
    (store.Corrupt("damaged"), Exit.UNAVAILABLE),
    (store.LockedElsewhere("elsewhere"), Exit.UNAVAILABLE),
    (client.ControllerFailed("died"), Exit.UNAVAILABLE),
    (store.Conflict("changed"), Exit.FAILED),
    (client.NeedsUser(LAB, "PortTaken", "port 1"), Exit.FAILED),
    (client.Unreachable("nobody"), Exit.FAILED),
    (client.Refused("no"), Exit.FAILED),
    (Interrupted("goes on"), Exit.INTERRUPTED),
    (KeyboardInterrupt(), Exit.INTERRUPTED),
    (RuntimeError("what"), Exit.FAILED),
    (SystemExit(5), Exit.UNAVAILABLE),
]


@pytest.mark.parametrize(("error", "code"), TABLE, ids=[type(error).__name__ for error, _ in TABLE])
def test_exit_codes(error: BaseException, code: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) <= 1


def test_the_last_lines_of_a_log_stand_below_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    report(client.ControllerFailed("the controller ended at once", ("one", "two")))

    assert capsys.readouterr().err == "error: the controller ended at once\n  | one\n  | two\n"


def test_something_unexpected_is_one_line_with_a_hint_and_the_trace_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    report(RuntimeError("two\nlines"))
    assert capsys.readouterr().err == "error: unexpected RuntimeError: two lines (--debug gives the trace)\n"

    try:
        raise RuntimeError("traced")
    except RuntimeError as error:
        report(error, debug=True)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(("damage", "says"), [(b"", "is damaged"), (b"x" * 5000, "is damaged"), (None, "not a file")])
def test_a_store_that_can_not_be_used(empty: World, damage: bytes | None, says: str) -> None:
    empty.home.database.mkdir() if damage is None else empty.home.database.write_bytes(damage)
    result = run(empty, "get")

    assert result.exit_code == Exit.UNAVAILABLE
    assert says in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["nosuch", "kubernetes/", "local/a", ""])
def test_a_context_that_there_is_not(empty: World, name: str) -> None:
    result = run(empty, "get", "--context", name)

    told = f"error: no context {name!r}; there is local, kubernetes and kubernetes/NAME, with NAME of the kubeconfig\n"
    assert (result.exit_code, result.stderr) == (Exit.INVALID, told)


def test_a_cluster_that_is_not_configured(empty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nosuch/config")
    result = run(empty, "get", "--context", "kubernetes")

    assert result.exit_code == Exit.UNAVAILABLE
    assert result.stderr.startswith("error: the kubeconfig /nosuch/config can't be read")


def test_a_command_that_does_not_exist_gets_a_suggestion(empty: World) -> None:
    result = run(empty, "gte")

    assert (result.exit_code, result.stderr) == (Exit.INVALID, "error: no command 'gte'; did you mean 'get'?; see `matrix --help`\n")


def test_a_reader_that_left_is_no_error(world: World, tmp_path: Path) -> None:
    world.home.controller_log.write_text("line\n" * 100_000)  # more than a pipe takes
    command = f"{sys.executable} -m matrix_cli --home {world.home.root} logs controller --tail 100000 | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "line\n", "")


@pytest.mark.parametrize(
    ("environ", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]
)
def test_colours_can_be_switched_off(environ: dict[str, str], wanted: bool) -> None:
    assert coloured(environ) is wanted


def test_a_group_without_a_command_shows_its_help(empty: World) -> None:
    result = run(empty, "keys")

    assert (result.exit_code, result.stdout) == (Exit.INVALID, "")
    assert result.stderr.startswith("Usage: matrix keys ") and "error" not in result.stderr


def test_a_choice_that_is_missing_is_one_line(empty: World) -> None:
    result = run(empty, "completion")

    assert (result.exit_code, len(result.stderr.splitlines())) == (Exit.INVALID, 1)
    assert "Choose from: bash, zsh, fish; see `matrix completion --help`" in result.stderr
