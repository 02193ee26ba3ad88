"""The command line with the rights in one namespace: an API server that answers every look at all namespaces with 403."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner, Result

from matrix_cli import settings
from matrix_cli.exits import Exit
from matrix_cli.main import matrix
from matrix_client.kubernetes_context import KubernetesContext
from matrix_crds.keys import ObjectKey
from matrix_store.kubernetes import paths
from matrix_store.kubernetes.connection import Connection
from matrix_store.port import Raw
from tests.unit.cli.runner import write
from tests.unit.client.worlds import manifest, ready
from tests.unit.store.kubernetes.server import SERVER, is_watch, listed, status, watched

TEAM = "team"
LAB, CHAT = ObjectKey("MatrixCluster", TEAM, "lab"), ObjectKey("ModelDeployment", TEAM, "chat")
IN_DEFAULT = LAB._replace(namespace="default")


class Team(KubernetesContext):
    """A kubeconfig whose context is of the namespace `team`, and the objects that its API server has. The user has rights in each
    namespace, and none in all of them together."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[ObjectKey, Raw] = {}

    @property
    def default_namespace(self) -> str:
        return TEAM

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            client = httpx2.AsyncClient(base_url=SERVER, transport=httpx2.MockTransport(self._answer))
            self._connection = Connection(client, SERVER, TEAM)
        return self._connection

    def put(self, key: ObjectKey, status: Mapping[str, object] | None = None) -> None:
        raw = manifest(key, uid=key.name, resourceVersion="1", generation=1)
        self.objects[key] = raw | ({"status": dict(status)} if status else {})

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if "/namespaces/" not in path:
            return status(403, "Forbidden", f"{path} is forbidden")
        if is_watch(request):
            return watched()
        one = next((key for key in self.objects if paths.of(key) == path), None)
        if one is not None:
            return httpx2.Response(200, json=self.objects.pop(one) if request.method == "DELETE" else self.objects[one])
        kinds = [kind for kind in paths.PLURALS if path.endswith(f"/{paths.PLURALS[kind]}")]
        if not kinds:
            return status(404, "NotFound", f"{path} not found", name=path.rpartition("/")[2])
        within = path.split("/")[-2]
        return listed(1, *(raw for key, raw in self.objects.items() if key.kind == kinds[0] and key.namespace == within))


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Team:
    there = Team()
    monkeypatch.setattr(settings, "open_context", lambda *_: there)
    monkeypatch.delenv("MATRIX_CONTEXT", raising=False)
    return there


def run(*words: object) -> Result:
    return CliRunner().invoke(matrix, ["--context", "kubernetes", *map(str, words)])


def test_down_deletes_the_cluster_when_its_models_are_gone_already(team: Team, tmp_path: Path) -> None:
    team.put(LAB)
    result = run("down", write(tmp_path))

    assert (result.exit_code, team.objects) == (Exit.OK, {})
    assert result.stdout.splitlines()[0] == "ModelDeployment/team/chat was not there"
    assert result.stdout.splitlines()[1].startswith("removed in ")


def test_down_of_what_is_gone_already_is_no_error(team: Team) -> None:
    assert run("down", "mxd/chat", "mxc/lab").exit_code == Exit.OK


@pytest.mark.parametrize(
    "words",
    [
        ("get", "mxd/caht"),
        ("describe", "mxd/caht"),
        ("delete", "mxd/caht"),
        ("scale", "mxd/caht", "--replicas", "2"),
        ("rollout", "restart", "mxd/caht"),
        ("logs", "mxd/caht"),
        ("port-forward", "mxd/caht"),
    ],
)
def test_an_unknown_name_gets_a_suggestion_of_its_namespace(team: Team, words: tuple[str, ...]) -> None:
    team.put(CHAT)
    result = run(*words)

    assert result.exit_code == Exit.NOT_FOUND
    assert result.stderr == "error: ModelDeployment/team/caht does not exist; did you mean ModelDeployment/team/chat?\n"


def test_what_may_not_be_listed_leaves_the_answer_that_it_does_not_exist(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    async def only_one(request: httpx2.Request) -> httpx2.Response:
        return status(404, "NotFound", name="typo") if request.url.path.endswith("/typo") else status(403, "Forbidden", "no")

    monkeypatch.setattr(team, "_answer", only_one)
    result = run("get", "mxd/typo")

    assert (result.exit_code, result.stderr) == (Exit.NOT_FOUND, "error: ModelDeployment/team/typo does not exist\n")


def test_waiting_looks_at_each_namespace_of_its_objects_and_at_no_other(team: Team) -> None:
    there = LAB._replace(namespace="other")
    team.put(LAB, ready())
    team.put(there, ready())

    assert run("wait", "mxc/team/lab", "mxc/other/lab").exit_code == Exit.OK
    del team.objects[there]
    assert run("wait", "mxc/team/lab", "mxc/other/lab").exit_code == Exit.NOT_FOUND


def test_an_object_of_default_is_named_with_its_namespace_where_another_is_meant_without(team: Team) -> None:
    team.put(IN_DEFAULT, ready("False", "Starting", "the head"))
    late = run("wait", "mxc/default/lab", "--timeout", "0.1")

    assert late.exit_code == Exit.TIMEOUT
    assert "see `matrix --context kubernetes why MatrixCluster/default/lab`" in late.stderr
    assert run("get", "-n", "default", "-o", "name").stdout == "MatrixCluster/default/lab\n"


def test_a_command_that_is_named_means_the_namespace_that_was_given(team: Team) -> None:
    told = run("get", "-n", "other").stderr
    assert told == "nothing here in namespace other; start something with `matrix --context kubernetes -n other up FILE`\n"
