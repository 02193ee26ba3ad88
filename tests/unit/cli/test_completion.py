"""Shell completion: what is offered, that it stays light, and that the scripts are right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_cli.exits import Exit
from matrix_cli.main import ENTRIES
from tests.unit.cli.runner import run
from tests.unit.client.worlds import CHAT, LAB, World, ready

HEAVY = ("pydantic", "rich", "httpx2", "grpc", "yaml", "ray", "vllm", "psutil", "matrix_operator", "matrix_runtime")


def ask(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """As bash asks, when the last of the words is being typed."""
    environ = os.environ | {"COMP_WORDS": " ".join(["matrix", *words]), "COMP_CWORD": str(len(words)), "_MATRIX_COMPLETE": "bash_complete"}
    code = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
from matrix_cli.main import main
sys.argv = ["matrix"]
main()
"""
    environ["MATRIX_HOME"] = str(world.home.root)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False)


def offered(world: World, *words: str) -> list[str]:
    done = ask(world, *words)
    assert (done.returncode, done.stderr.strip()) == (0, ""), done.stderr
    return values(done.stdout)


def values(output: str) -> list[str]:
    """TYPE,VALUE in each line; an empty line where there is nothing to offer."""
    return [line.partition(",")[2] for line in output.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("",), list(ENTRIES)),
        (("de",), ["describe", "delete"]),
        (("get", ""), ["mxc", "MatrixCluster", "mxd", "ModelDeployment", "mxc/lab", "mxd/chat"]),
        (("get", "mxd", ""), ["chat"]),
        (("describe", "mxd/"), ["mxd/chat"]),
        (("describe", "ModelDeployment/c"), ["ModelDeployment/chat"]),
        (("describe", "pods/"), []),
        (("chat", ""), ["org/served"]),
        (("env", ""), ["org/served", "mxc/lab"]),
        (("keys", ""), ["issue", "list", "revoke"]),
        (("keys", "issue", ""), ["lab"]),
        (("rollout", "status", "mxc"), ["mxc/lab"]),
        (("logs", "c"), ["controller"]),
        (("down", "mxd"), ["mxd/chat"]),
        (("get", "-o", ""), ["table", "wide", "json", "yaml", "name"]),
        (("scale", "--re"), ["--replicas"]),
        (("get", "-n", ""), ["default"]),
        (("explain", ""), ["mxc", "mxd"]),
        (("no-such-command", ""), list(ENTRIES)),
    ],
    ids=" ".join,
)
def test_what_is_offered(world: World, words: tuple[str, ...], offers: list[str]) -> None:
    spec = world.find(CHAT).raw["spec"]  # type: ignore[union-attr]
    world.put(CHAT, ready(), spec=spec | {"model": {"servedName": "org/served"}})

    assert offered(world, *words) == offers


@pytest.mark.parametrize(
    ("path", "offers"),
    [
        ("mxd.spec.eng", ["mxd.spec.engine"]),
        ("mxd.spec.engine.vllm.ten", ["mxd.spec.engine.vllm.tensorParallel"]),
        ("mxc.spec.workerGroups.res", ["mxc.spec.workerGroups.resources"]),
        ("mxd.spec.nothing.", []),
        ("pods.", []),
    ],
)
def test_fields_are_offered_level_by_level(empty: World, path: str, offers: list[str]) -> None:
    assert values(ask(empty, "explain", path).stdout) == offers


def test_files_are_left_to_the_shell(world: World) -> None:
    assert ask(world, "up", "ex").stdout.strip() == ask(world, "down", "ex").stdout.strip() == "file,ex"
    assert ask(world, "--home", "/").stdout.strip() == "dir,/"


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, empty: World) -> None:
    assert offered(empty, "--home", str(tmp_path / "none"), "describe", "") == []
    assert not (tmp_path / "none").exists()


def test_a_damaged_store_offers_nothing_and_says_nothing(world: World) -> None:
    world.home.database.write_bytes(b"no database" * 100)

    assert offered(world, "describe", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_the_shell(empty: World, shell: str) -> None:
    result = run(empty, "completion", shell)

    assert result.exit_code == Exit.OK
    assert f"_MATRIX_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


def test_another_shell_is_refused(empty: World) -> None:
    assert run(empty, "completion", "tcsh").exit_code == Exit.INVALID


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_an_object(world: World, tmp_path: Path) -> None:
    program = tmp_path / "matrix"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m matrix_cli "$@"\n')
    program.chmod(0o755)
    asks = """
eval "$(matrix completion bash)"
COMP_WORDS=(matrix describe mxd/); COMP_CWORD=2
_matrix_completion matrix
echo "${COMPREPLY[@]}"
"""
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MATRIX_HOME": str(world.home.root)}
    done = subprocess.run(["bash", "--norc", "-c", asks], capture_output=True, text=True, env=environ, check=True)

    assert done.stdout.strip() == f"mxd/{CHAT.name}"
    assert LAB.name not in done.stdout
