"""`kubectl matrix`: what the plugin says of itself, where it looks, and what it completes. With a real kubectl: tests/e2e/kubernetes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_cli import program
from matrix_cli.main import ENTRIES, OF_THIS_MACHINE

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: one, user: me}}]
clusters: [{name: one, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {}}]
"""


def plugin(*words: str, script: str = "kubectl-matrix", **environ: str) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(script)
    return subprocess.run([str(path), *words], capture_output=True, text=True, env={**os.environ, **environ}, timeout=120, check=False)


@pytest.fixture
def as_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_current", program.PLUGIN)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("see `matrix why mxd/parrot`", "see `kubectl matrix why mxd/parrot`"),
        ("installed (`matrix --version`)", "installed (`kubectl matrix --version`)"),
        ('eval "$(matrix env)"', 'eval "$(kubectl matrix env)"'),
        ("Usage: kubectl matrix why", "Usage: kubectl matrix why"),
        ("in ~/.cache/matrix and matrix.dev", "in ~/.cache/matrix and matrix.dev"),
    ],
)
def test_commands_are_named_as_they_are_typed(as_plugin: None, text: str, spelled: str) -> None:
    assert program.spelled(text) == spelled


def test_the_command_itself_is_spelled_as_it_always_was() -> None:
    assert program.spelled("see `matrix why mxd/parrot`") == "see `matrix why mxd/parrot`"


def test_its_help_is_that_of_kubectl_and_of_clusters() -> None:
    text = plugin("--help").stdout
    assert text.startswith("Usage: kubectl matrix ")
    assert "`kubectl matrix up examples" in text and "`matrix " not in text
    assert "--kubeconfig FILE" in text and "--home" not in text
    for name in OF_THIS_MACHINE:
        assert f"\n  {name} " not in text


def test_no_help_page_speaks_of_another_command() -> None:
    code = """
from matrix_cli import program
program.use(program.PLUGIN)
from matrix_cli.main import matrix
for name in matrix.list_commands(None):
    try:
        matrix.main([name, "--help"], prog_name=program.PLUGIN.name)
    except SystemExit as ended:
        assert ended.code == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name in set(ENTRIES) - set(OF_THIS_MACHINE):
        assert f"Usage: kubectl matrix {name} " in done.stdout
    assert "`matrix " not in done.stdout and "$(matrix " not in done.stdout


def test_it_speaks_to_kubectls_cluster_whatever_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    done = plugin("get", "--kubeconfig", str(tmp_path / "config"), MATRIX_CONTEXT="local", MATRIX_HOME=str(tmp_path / "home"))
    assert done.returncode == 5
    assert "127.0.0.1:1" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_context_that_is_not_there_is_named_as_it_was_typed(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    done = plugin("get", "--context", "two", KUBECONFIG=str(tmp_path / "config"))
    assert done.returncode != 0 and "two" in done.stderr and "kubernetes/two" not in done.stderr


@pytest.mark.parametrize(
    ("words", "offers", "files"),
    [
        (("wh",), ["why\tSay in plain words why an object is not ready, and what to do."], False),
        (("get", "--out"), ["--output\twide adds columns."], False),
        (("get", "-o", "js"), ["json"], False),
        (("apply", "examp"), [], True),
        (("controller",), [], False),
    ],
)
def test_kubectl_is_told_what_may_stand_there(words: tuple[str, ...], offers: list[str], files: bool) -> None:
    done = plugin(*words, script="kubectl_complete-matrix")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*offers, ":0" if files else ":4"]
