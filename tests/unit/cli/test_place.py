"""Commands that are printed mean the place that the printing one meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matrix_cli import program
from matrix_cli.commands.env import typed
from matrix_cli.commands.up import _farewell
from matrix_cli.exits import Exit
from matrix_cli.main import ENTRIES, matrix
from matrix_cli.references import with_namespaces
from matrix_cli.settings import Settings
from matrix_crds.keys import ObjectKey
from tests.unit.cli.runner import run, write
from tests.unit.client.worlds import CHAT, LAB, World, condition, ready

ROOT = Path(__file__).parents[3]
SPEAKING = ("cli", "crds", "operator", "proto", "runtime", "slurm_bridge")
"""Packages whose words a user may read."""
SEE = "see `matrix why MatrixCluster/lab`"


@pytest.fixture(autouse=True)
def nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATRIX_CONTEXT", raising=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Settings("default", "local"), "see `matrix -n default why MatrixCluster/lab`"),
        (Settings(None, "local"), SEE),
        (Settings(None, "local", home="/a b"), "see `matrix --home '/a b' why MatrixCluster/lab`"),
        (Settings("team", "local"), "see `matrix -n team why MatrixCluster/default/lab`"),
        (Settings(None, "kubernetes"), "see `matrix --context kubernetes why MatrixCluster/default/lab`"),
        (Settings("team", "kubernetes/one"), "see `matrix --context kubernetes/one -n team why MatrixCluster/default/lab`"),
    ],
)
def test_a_command_has_the_options_of_the_one_that_names_it(given: Settings, says: str) -> None:
    assert given.spelled(SEE) == says
    assert given.spelled(says) == says


def test_the_plugin_names_the_kubeconfig_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_current", program.PLUGIN)
    given = Settings("team", "kubernetes/one", kubeconfig="/k/config")
    assert given.spelling == "kubectl matrix --context one --kubeconfig /k/config -n team"
    assert Settings().spelled("`matrix get`, `matrix bridge status`, `matrix --version`") == (
        "`kubectl matrix get`, `matrix bridge status`, `kubectl matrix --version`"
    )


def test_the_option_of_the_plugin_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "_current", program.PLUGIN)
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    from matrix_cli.settings import _kubectls_options

    file = tmp_path / "config"
    file.touch()
    option = next(option for option in _kubectls_options() if option.name == "kubeconfig")
    context = matrix.make_context("matrix", ["get"], obj=Settings())
    option.handle_parse_result(context, {"kubeconfig": str(file)}, [])
    assert context.obj.spelling == f"kubectl matrix --kubeconfig {file}"


def test_what_reads_like_a_command_is_left_alone() -> None:
    assert Settings("team", "kubernetes").spelled("the matrix is singular; matrix why") == "the matrix is singular; matrix why"


@pytest.mark.parametrize(
    ("text", "qualified"),
    [
        ("MatrixCluster/lab.", "MatrixCluster/default/lab."),
        ("MatrixCluster/lab, ModelDeployment/chat-1", "MatrixCluster/default/lab, ModelDeployment/default/chat-1"),
        ("MatrixCluster/t-eam/lab", "MatrixCluster/t-eam/lab"),
        ("'MatrixCluster/lab' is no model", "'MatrixCluster/lab' is no model"),
        ("mxc/lab and Secret/lab", "mxc/lab and Secret/lab"),
    ],
)
def test_names_without_a_namespace_get_it(text: str, qualified: str) -> None:
    assert with_namespaces(text) == qualified


def test_an_error_names_the_state_directory_that_was_given(world: World, tmp_path: Path) -> None:
    world.put(LAB)
    result = run(world, "--home", world.home.root, "env")
    assert result.exit_code == Exit.FAILED
    assert f"see `matrix --home {world.home.root} why MatrixCluster/lab`" in result.stderr


def test_an_error_in_a_manifest_speaks_of_what_was_written(world: World, tmp_path: Path) -> None:
    twice = write(tmp_path, 2 * "---\nkind: MatrixCluster\napiVersion: matrix.dev/v1alpha1\nmetadata: {name: lab}\n")
    assert "MatrixCluster/lab is in this file twice" in run(world, "-n", "team", "apply", twice).stderr


def test_why_and_controller_name_it_too(world: World) -> None:
    lead = f"`matrix --home {world.home.root} controller run --detach`"
    assert lead in run(world, "--home", world.home.root, "why", "mxd/chat").stdout
    assert lead in run(world, "--home", world.home.root, "controller", "status").stdout


@pytest.mark.parametrize(
    "command",
    [
        ("get",),
        ("describe", "mxc/lab"),
        ("events",),
        ("why", "mxc/lab"),
        ("wait", "mxc/lab", "--for", "condition=UpToDate", "--timeout", "0.2"),
    ],
)
def test_a_command_in_the_words_of_a_status_means_the_place_too(managed: World, command: tuple[str, ...]) -> None:
    told = "`matrix rollout restart MatrixCluster/default/lab` makes it anew"
    managed.put(
        LAB, ready(summary=told) | {"conditions": [condition(kind, "False", "TemplateChanged", told) for kind in ("Ready", "UpToDate")]}
    )
    managed.tell(LAB, "TemplateChanged", told)
    shown = run(managed, "--home", managed.home.root, *command)
    assert f"`matrix --home {managed.home.root} rollout restart MatrixCluster/default/lab`" in shown.stdout + shown.stderr
    assert "`matrix rollout" not in shown.stdout + shown.stderr


@pytest.mark.parametrize("command", [("get", "mxc/lab", "-o", "json"), ("describe", "mxc/lab", "-o", "yaml"), ("events", "-o", "json")])
def test_a_program_gets_the_words_as_they_are_stored(world: World, command: tuple[str, ...]) -> None:
    world.put(LAB, ready(message="`matrix why`"))
    world.tell(LAB, "TemplateChanged", "`matrix why`")
    assert "`matrix why`" in run(world, "--home", world.home.root, *command).stdout


def test_a_command_in_a_message_is_one_and_names_its_object_in_full() -> None:
    """Only so is it given the place: an object by a short name stays as it is (with_namespaces)."""
    texts = [
        text
        for folder in SPEAKING
        for path in (ROOT / folder).rglob("*.py")
        for text in re.findall(r"`matrix ([a-z][^`\n]*)", path.read_text())
    ]
    assert len(texts) > 50
    for text in texts:
        command, *rest = text.split()
        assert command in ENTRIES, text
        assert not any(re.match(r"mx\w+/\{", word) for word in rest), text


def test_an_object_is_named_so_that_it_is_found_again() -> None:
    assert [given.named(LAB) for given in (Settings(None, "local"), Settings("team", "local"))] == [
        "MatrixCluster/lab",
        "MatrixCluster/default/lab",
    ]
    assert Settings(None, "kubernetes").named(ObjectKey("MatrixCluster", "team", "lab")) == "MatrixCluster/team/lab"


def test_up_tells_how_to_ask_a_model_of_another_namespace(world: World) -> None:
    model = world.put(CHAT._replace(namespace="team"), ready())
    assert 'ask it: matrix chat chat -n team "Hello"' in _farewell(Settings(None, "local"), [model], 1)
    assert 'ask it: matrix -n team chat chat "Hello"' in _farewell(Settings("team", "local"), [model], 1)


def test_env_names_all_that_was_typed() -> None:
    assert typed(["/bin/matrix", "--context", "kubernetes", "env", "my model"]) == "matrix --context kubernetes env 'my model'"
