"""What an operator wants of a cluster before it begins: with an API server whose answers are given by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from matrix_crds.crd import definition
from matrix_crds.registry import KINDS
from matrix_operator.engines import kubernetes_preflight
from matrix_operator.engines.kubernetes_preflight import NotReady, check, current, lacking
from matrix_operator.rbac import Place
from matrix_store.errors import Unavailable
from tests.unit.store.kubernetes.server import api, listed, status


def schemas(change: Any = lambda kind, schema: None) -> dict[str, Any]:
    """As the API server publishes them; `change` may take something out."""
    found = {}
    for info in KINDS:
        schema = definition(info)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        change(info.kind, schema)
        kind = {"group": "matrix.dev", "version": "v1alpha1", "kind": info.kind}
        found[f"dev.matrix.v1alpha1.{info.kind}"] = schema | {"x-kubernetes-group-version-kind": [kind]}
    return {"components": {"schemas": found}}


class Server:
    def __init__(self) -> None:
        self.kinds = [{"kind": info.kind} for info in KINDS]
        self.published: httpx2.Response | None = None
        self.schemas = schemas()
        self.refused: set[tuple[str, str, str]] = set()
        self.asked: list[dict[str, str]] = []
        self.faults: dict[str, list[Exception | httpx2.Response]] = {}
        """What the next calls of a path end in."""

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if faults := self.faults.get(request.url.path):
            fault = faults.pop()
            if isinstance(fault, Exception):
                raise fault
            return fault
        match request.url.path:
            case "/apis/matrix.dev/v1alpha1":
                return httpx2.Response(200, json={"resources": self.kinds})
            case "/openapi/v3/apis/matrix.dev/v1alpha1":
                return self.published or httpx2.Response(200, json=self.schemas)
            case path if path.endswith(("matrixclusters", "modeldeployments")):
                return listed(1)
            case _:
                return self._review(json.loads(request.content)["spec"]["resourceAttributes"])

    def _review(self, attributes: dict[str, str]) -> httpx2.Response:
        self.asked.append(attributes)
        allowed = (attributes["verb"], attributes["resource"], attributes["namespace"]) not in self.refused
        return httpx2.Response(201, json={"status": {"allowed": allowed}})


@pytest.fixture
def server() -> Server:
    return Server()


def run(server: Server, place: Place = Place()) -> None:  # noqa: B008
    asyncio.run(check(api(server.answer), place))


def test_a_cluster_that_has_everything(server: Server) -> None:
    run(server, Place(("a", "b"), lease_namespace="ops"))
    assert {one["namespace"] for one in server.asked} == {"a", "b", "ops"}
    leases = [one for one in server.asked if one["resource"] == "leases"]
    assert {(one["verb"], one["name"]) for one in leases} == {("get", "matrix-operator"), ("patch", "matrix-operator"), ("create", "")}


def test_rights_in_all_namespaces_are_asked_for_as_such(server: Server) -> None:
    server.refused = {("list", "pods", "")}
    with pytest.raises(NotReady, match="may not list pods in all namespaces: bind it to the roles in deploy/rbac"):
        run(server)


def test_the_proxy_is_wanted_only_from_outside(server: Server) -> None:
    run(server)
    assert "proxy" not in {one["subresource"] for one in server.asked}
    server.refused = {("update", "services", "")}
    with pytest.raises(NotReady, match="update services/proxy in all namespaces"):
        run(server, Place(proxied=True))


def test_many_missing_rights_are_counted(server: Server) -> None:
    everything = {(verb, resource, "a") for verb in ("list", "watch", "get") for resource in ("pods", "services", "events", "rayclusters")}
    server.refused = everything | {("patch", "matrixclusters", "a"), ("list", "modeldeployments", "a")}
    with pytest.raises(NotReady, match=r"and \d more: bind"):
        run(server, Place(("a",)))


def test_kinds_that_are_not_served_are_named(server: Server) -> None:
    server.kinds = [{"kind": "MatrixCluster"}]
    with pytest.raises(
        NotReady, match=r"does not know ModelDeployment of matrix.dev/v1alpha1: install .* `kubectl apply --server-side -f crds/"
    ):
        run(server)


def test_older_crds_are_told_by_the_fields_that_they_lack(server: Server) -> None:
    def without_pools(kind: str, schema: dict[str, Any]) -> None:
        if kind == "MatrixCluster":
            del schema["properties"]["spec"]["properties"]["workerGroups"]["items"]["properties"]["replicas"]

    server.schemas = schemas(without_pools)
    with pytest.raises(NotReady, match=r"older than this operator, they lack MatrixCluster.spec.workerGroups\[\].replicas: install"):
        asyncio.run(current(api(server.answer), seconds=0))


def test_newer_crds_will_do(server: Server) -> None:
    def with_more(kind: str, schema: dict[str, Any]) -> None:
        schema["properties"]["spec"]["properties"]["more"] = {"type": "string"}

    server.schemas = schemas(with_more)
    run(server)


def test_a_value_that_an_older_crd_refuses_is_told() -> None:
    old, new = {"properties": {"a": {"enum": ["x"]}}}, {"properties": {"a": {"enum": ["x", "y"]}}}
    assert list(lacking(new, old, "K")) == ["K.a=y"]
    assert list(lacking(old, new, "K")) == []


@pytest.mark.parametrize("answer", [status(403, "Forbidden"), status(404, "NotFound")])
def test_schemas_that_can_t_be_read_are_no_reason(server: Server, answer: httpx2.Response) -> None:
    server.published = answer
    run(server)


@pytest.mark.parametrize(
    "fault",
    [
        httpx2.ConnectError("refused"),
        status(503, "ServiceUnavailable", "the request has been made before all known HTTP paths have been installed"),
    ],
)
@pytest.mark.parametrize("path", ["/apis/matrix.dev/v1alpha1", "/apis/matrix.dev/v1alpha1/modeldeployments"])
def test_a_server_that_is_not_all_there_yet_is_waited_for(
    server: Server, path: str, fault: Exception | httpx2.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_preflight, "AGAIN_SECONDS", 0.01)
    server.faults = {path: [fault] * 3}
    run(server)
    assert server.faults == {path: []}


def test_but_not_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_preflight, "AGAIN_SECONDS", 0.01)
    server.faults = {"/apis/matrix.dev/v1alpha1": [httpx2.ConnectError("refused")] * 10**4}
    with pytest.raises(NotReady, match=r"can't be reached: refused; it was waited for 0 s"):
        asyncio.run(check(api(server.answer), Place(), seconds=0.05))


def test_credentials_that_are_refused_are_told_at_once(server: Server) -> None:
    server.faults = {"/apis/matrix.dev/v1alpha1": [status(401, "Unauthorized", "Unauthorized")] * 2}
    with pytest.raises(Unavailable, match="does not know who is calling"):
        run(server)
    assert len(server.faults["/apis/matrix.dev/v1alpha1"]) == 1, "it was asked once"
