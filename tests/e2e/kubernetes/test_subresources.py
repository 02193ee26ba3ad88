"""Status, scale and tables of our kinds, as a real API server has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest

from matrix_crds.registry import KINDS, parse
from tests.e2e.kubernetes.judges import ApiServer, api_server
from tests.e2e.kubernetes.manifests import CLUSTERS, DEPLOYMENTS, Raw
from tests.lab.control_plane import ControlPlane

T = TypeVar("T")
Ask = Callable[[Callable[[ApiServer], Awaitable[T]]], T]

MERGE = {"Content-Type": "application/merge-patch+json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
NOW = "2026-01-31T12:00:00Z"
READY = {
    "type": "Ready",
    "status": "False",
    "reason": "WorkersNotReady",
    "message": "3 of 4",
    "lastTransitionTime": NOW,
    "observedGeneration": 1,
}
ENDPOINT = {"name": "openai", "url": "http://10.0.0.1:8000/v1", "scope": "Cluster"}
COMMON = {"observedGeneration": 1, "summary": "3 of 4 ready; waiting", "conditions": [READY], "endpoints": [ENDPOINT]}
STATUS: dict[str, Raw] = {
    "MatrixCluster": COMMON
    | {
        "backend": "Kubernetes",
        "workers": {"desired": 4, "ready": 3, "display": "3/4"},
        "allocation": {
            "kind": "RayCluster",
            "name": "full",
            "attempt": 2,
            "templateHash": "abc",
            "restartedAt": NOW,
            "startedAt": NOW,
            "expiresAt": NOW,
        },
        "credentialsRef": {"name": "full-client-token"},
        "ray": {"version": "2.60.0", "sessionName": "session_1"},
    },
    "ModelDeployment": COMMON
    | {
        "readyReplicas": 3,
        "replicas": {"desired": 4, "ready": 3, "starting": 1, "failing": 0, "updated": 3, "display": "3/4"},
        "model": "qwen3-8b",
        "allocation": {"attempt": 2, "failures": 1, "retryAt": NOW, "restartedAt": NOW},
    },
}
OF_KIND = {manifest["kind"]: manifest for manifest in (CLUSTERS[0], DEPLOYMENTS[0])}
KIND_NAMES = [info.kind for info in KINDS]


@pytest.fixture
def ask(control_plane: ControlPlane, namespace: str) -> Ask[Any]:
    """Runs calls against the API server, in a namespace of their own."""

    def run(calls: Callable[[ApiServer], Awaitable[T]]) -> T:
        async def inside() -> T:
            async with api_server(control_plane.kubeconfig, namespace) as server:
                return await calls(server)

        return asyncio.run(inside())

    return run


async def with_status(server: ApiServer, kind: str) -> Raw:
    """The object, after its controller's write."""
    created = await server.create(OF_KIND[kind])
    path = server.path(kind, created["metadata"]["name"], "status")
    body = created | {"status": STATUS[kind]}
    return _read(await server.http.put(path, json=body, params={"fieldValidation": "Strict"}))


async def table(server: ApiServer, kind: str) -> dict[str, tuple[int, Any]]:
    """What a list of one object shows: each column's priority and cell."""
    answer = _read(await server.http.get(server.path(kind), headers=TABLE))
    (row,) = answer["rows"]
    return {
        column["name"].upper(): (column["priority"], cell) for column, cell in zip(answer["columnDefinitions"], row["cells"], strict=True)
    }


def _read(answer: httpx2.Response) -> Raw:
    assert answer.is_success, answer.text
    read: Raw = answer.json()
    return read


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_whole_status_is_kept_and_is_no_new_generation(kind: str, ask: Ask[Raw]) -> None:
    stored = ask(lambda server: with_status(server, kind))
    assert stored["status"] == STATUS[kind]
    assert stored["metadata"]["generation"] == 1
    assert parse(stored).to_wire()["status"].items() >= STATUS[kind].items()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_each_endpoint_leaves_the_other_half_as_it_is(kind: str, ask: Ask[tuple[Raw, Raw, Raw]]) -> None:
    async def calls(server: ApiServer) -> tuple[Raw, Raw, Raw]:
        created = await server.create(OF_KIND[kind] | {"status": {"summary": "mine"}})
        path = server.path(kind, created["metadata"]["name"])
        changed = _read(await server.http.patch(path, json={"status": {"summary": "mine"}}, headers=MERGE))
        both = {"spec": created["spec"] | {"drainSeconds": 1, "suspend": False}, "status": {"summary": "its controller's"}}
        return created, changed, _read(await server.http.patch(f"{path}/status", json=both, headers=MERGE))

    created, changed, by_controller = ask(calls)
    assert "status" not in created and "status" not in changed
    assert by_controller["status"] == {"summary": "its controller's"}
    assert by_controller["spec"] == created["spec"]


def test_the_table_of_clusters(ask: Ask[dict[str, tuple[int, Any]]]) -> None:
    async def calls(server: ApiServer) -> dict[str, tuple[int, Any]]:
        await with_status(server, "MatrixCluster")
        return await table(server, "MatrixCluster")

    shown = ask(calls)
    age = shown.pop("AGE")
    assert list(shown.items()) == [
        ("NAME", (0, "full")),
        ("READY", (0, "False")),
        ("BACKEND", (0, "Kubernetes")),
        ("WORKERS", (0, "3/4")),
        ("SUMMARY", (0, "3 of 4 ready; waiting")),
        ("REASON", (1, "WorkersNotReady")),
        ("ENDPOINT", (1, "http://10.0.0.1:8000/v1")),
    ]
    assert age[0] == 0 and age[1].endswith("s")


def test_the_table_of_deployments(ask: Ask[dict[str, tuple[int, Any]]]) -> None:
    async def calls(server: ApiServer) -> dict[str, tuple[int, Any]]:
        await with_status(server, "ModelDeployment")
        return await table(server, "ModelDeployment")

    shown = ask(calls)
    age = shown.pop("AGE")
    assert list(shown.items()) == [
        ("NAME", (0, "chat")),
        ("READY", (0, "False")),
        ("MODEL", (0, "qwen3-8b")),
        ("REPLICAS", (0, "3/4")),
        ("SUMMARY", (0, "3 of 4 ready; waiting")),
        ("REASON", (1, "WorkersNotReady")),
        ("ENDPOINT", (1, "http://10.0.0.1:8000/v1")),
    ]
    assert age[0] == 0 and age[1].endswith("s")


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_table_without_status_is_empty_where_there_is_nothing_to_say(kind: str, ask: Ask[dict[str, tuple[int, Any]]]) -> None:
    async def calls(server: ApiServer) -> dict[str, tuple[int, Any]]:
        await server.create(OF_KIND[kind])
        return await table(server, kind)

    shown = ask(calls)
    assert {cell for name, (_, cell) in shown.items() if name not in ("NAME", "AGE")} <= {None, ""}


def test_scale_shows_the_ready_replicas_and_changes_the_wanted_ones(ask: Ask[tuple[Raw, Raw, Raw]]) -> None:
    async def calls(server: ApiServer) -> tuple[Raw, Raw, Raw]:
        await with_status(server, "ModelDeployment")
        path = server.path("ModelDeployment", "chat")
        before = _read(await server.http.get(f"{path}/scale"))
        _read(await server.http.put(f"{path}/scale", json=before | {"spec": {"replicas": 7}}))
        return before, _read(await server.http.get(f"{path}/scale")), _read(await server.http.get(path))

    before, after, deployment = ask(calls)
    assert (before["spec"]["replicas"], before["status"]["replicas"]) == (2, 3)
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (7, 3)
    assert deployment["spec"]["replicas"] == 7 and deployment["metadata"]["generation"] == 2


def test_scale_is_bound_by_the_schema_too(ask: Ask[httpx2.Response]) -> None:
    async def calls(server: ApiServer) -> httpx2.Response:
        await server.create(DEPLOYMENTS[0])
        path = server.path("ModelDeployment", "chat", "scale")
        return await server.http.patch(path, json={"spec": {"replicas": 10_001}}, headers=MERGE)

    answer = ask(calls)
    assert answer.status_code == 422 and "spec.replicas" in answer.json()["message"]


def test_a_cluster_has_no_scale(ask: Ask[httpx2.Response]) -> None:
    async def calls(server: ApiServer) -> httpx2.Response:
        await server.create(CLUSTERS[0])
        return await server.http.get(server.path("MatrixCluster", "full", "scale"))

    assert ask(calls).status_code == 404


def test_two_writers_each_keep_their_conditions(ask: Ask[Raw]) -> None:
    """The list of conditions is keyed by type: an apply by one manager leaves those of another."""

    async def calls(server: ApiServer) -> Raw:
        path = server.path("MatrixCluster", (await server.create(CLUSTERS[0]))["metadata"]["name"], "status")
        head = {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": "full"}}
        for manager, type_ in (("one", "Ready"), ("two", "Reviewed"), ("one", "Ready")):
            body = head | {"status": {"conditions": [READY | {"type": type_}]}}
            headers = {"Content-Type": "application/apply-patch+yaml"}
            answer = _read(await server.http.patch(path, json=body, params={"fieldManager": manager}, headers=headers))
        return answer

    assert {condition["type"] for condition in ask(calls)["status"]["conditions"]} == {"Ready", "Reviewed"}
