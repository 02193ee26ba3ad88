"""Which pod answers for a Service, and at which port."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from matrix_store.kubernetes.services import Behind, NobodyBehind, behind, choose
from tests.unit.store.kubernetes.server import api, listed, status

CONTAINERS = [{"name": "ray-head", "ports": [{"name": "web", "containerPort": 9000}]}]


def pod(
    name: str, phase: str = "Running", *, ready: bool = True, going: bool = False, created: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": created} | ({"deletionTimestamp": created} if going else {})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {"containers": CONTAINERS}, "status": {"phase": phase, "conditions": conditions}}


@pytest.mark.parametrize(
    ("pods", "name"),
    [
        ([], None),
        ([pod("a", "Pending")], None),
        ([pod("a", going=True)], None),
        ([pod("a", going=True), pod("b", ready=False)], "b"),
        ([pod("a", ready=False), pod("b")], "b"),
        ([pod("a"), pod("b", created="2026-01-02T00:00:00Z")], "b"),
    ],
)
def test_of_several_pods_the_readiest_and_newest_is_taken(pods: list[dict[str, Any]], name: str | None) -> None:
    chosen = choose(pods)
    assert (chosen and chosen["metadata"]["name"]) == name


def found(spec: dict[str, Any], *pods: dict[str, Any]) -> Behind:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/services/web"):
            return httpx2.Response(200, json={"spec": {"selector": {"b": "2", "a": "1"}} | spec})
        assert request.url.params["labelSelector"] == "a=1,b=2"
        return listed(1, *pods)

    return asyncio.run(behind(api(answer), "team", "web", 80))


@pytest.mark.parametrize(
    ("spec", "port"),
    [
        ({"ports": [{"port": 80}]}, 80),
        ({"ports": [{"port": 80, "targetPort": 8080}]}, 8080),
        ({"ports": [{"port": 80, "targetPort": "web"}]}, 9000),
        ({"ports": [{"port": 80, "targetPort": 8080}], "clusterIP": "None"}, 80),
        ({"ports": [{"port": 81, "targetPort": 8080}]}, 80),
        ({}, 80),
    ],
)
def test_a_service_leads_to_a_port_by_number_by_name_or_not_at_all(spec: dict[str, Any], port: int) -> None:
    assert found(spec, pod("one")) == Behind("one", port)


def test_why_nobody_is_there_is_said() -> None:
    async def nothing(request: httpx2.Request) -> httpx2.Response:
        return status(404, "NotFound", "not found", name="web", kind="services")

    with pytest.raises(NobodyBehind, match="there is one that is Pending"):
        found({}, pod("one", "Pending"))
    with pytest.raises(NobodyBehind, match="there is one that is being deleted"):
        found({}, pod("one", going=True))
    with pytest.raises(NobodyBehind, match="there is none"):
        found({})
    with pytest.raises(NobodyBehind, match="no Service web in namespace team"):
        asyncio.run(behind(api(nothing), "team", "web", 80))


def written_down(*slices: dict[str, Any]) -> Behind:
    """Of a Service without a selector."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/services/web"):
            return httpx2.Response(200, json={"spec": {"ports": [{"name": "http", "port": 80}, {"name": "state", "port": 81}]}})
        assert request.url.path == "/apis/discovery.k8s.io/v1/namespaces/team/endpointslices"
        assert request.url.params["labelSelector"] == "kubernetes.io/service-name=web"
        return listed(1, *slices)

    return asyncio.run(behind(api(answer), "team", "web", 80))


def endpoint_slice(**target: str) -> dict[str, Any]:
    ports = [{"name": "state", "port": 4001}, {"name": "http", "port": 4002}]
    return {"metadata": {"name": "web-1"}, "ports": ports, "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": target}]}


def test_a_service_without_a_selector_leads_where_its_slice_says() -> None:
    assert written_down(endpoint_slice(kind="Pod", name="op", namespace="system")) == Behind("op", 4002, "system")
    assert written_down(endpoint_slice(kind="Pod", name="op")) == Behind("op", 4002, "team")
    for slices in ((), (endpoint_slice(kind="Node", name="op"),), (endpoint_slice(),)):
        with pytest.raises(NobodyBehind, match="no pod is written down behind Service web"):
            written_down(*slices)
