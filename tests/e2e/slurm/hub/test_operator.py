"""The operator with a hub, as a process, on a real API server: a cluster at a site from `kubectl apply` to its end, over operators that are
killed. The site is a bridge of the test's own, with a stand-in for Ray behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from matrix_client.context import Way
from matrix_client.kubernetes_context import KubernetesContext
from matrix_crds.keys import ObjectKey
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, TunnelTarget
from tests.e2e.kubernetes.operator.objects import Objects
from tests.e2e.kubernetes.operator.operators import Operator, Operators, operators
from tests.fakes.bridge import FakeBridge
from tests.fakes.ray_server import FakeRay, serve
from tests.fakes.sites import SITE_ADDRESS, answer, node
from tests.lab.control_plane import ControlPlane
from tests.lab.ports import free_port

SECONDS = 120.0
MATRIX = [sys.executable, "-m", "matrix_cli"]


def running(wish: ClusterDesired) -> ClusterReport:
    if wish.phase == ClusterDesired.DELETE:
        return answer(wish, ClusterReport.ABSENT)
    return answer(wish, ClusterReport.PRESENT, head=node("head"), address=SITE_ADDRESS)


class World:
    """Operators of a namespace, their hub, and a site's bridge."""

    def __init__(self, plane: ControlPlane, namespace: str, directory: Path, crew: Operators, ray: FakeRay) -> None:
        self.plane, self.namespace, self.directory, self.crew = plane, namespace, directory, crew
        self.objects = Objects(plane, namespace)
        self.port = free_port()
        self.ray_port = int(urlsplit(ray.url).port or 0)
        self.token = self._prepare()

    def _prepare(self) -> str:
        """As an administrator does it, by the commands."""
        made = subprocess.run([*MATRIX, "operator", "hub-token"], check=True, capture_output=True, text=True)
        digest = made.stderr.split("tokenSha256: ")[1].split()[0]
        subprocess.run([*MATRIX, "operator", "hub-certificate", str(self.directory / "tls"), "127.0.0.1"], check=True)
        section = {
            "port": self.port,
            "certificate": str(self.directory / "tls" / "tls.crt"),
            "key": str(self.directory / "tls" / "tls.key"),
            "sites": {"fair": {"tokenSha256": digest, "namespaces": [self.namespace]}},
        }
        (self.directory / "operator.yaml").write_text(json.dumps({"image": "example.org/matrix:1", "hub": section}))
        return made.stdout.strip()

    def operator(self) -> Operator:
        options = ["--kubeconfig", str(self.plane.kubeconfig), "--config", str(self.directory / "operator.yaml"), "-n", self.namespace]
        ports = ["--lease-namespace", self.namespace, "--health-port", "0", "--metrics-port", "0"]
        return self.crew.run([*MATRIX, "operator", "run", *options, *ports])

    @asynccontextmanager
    async def site(self) -> AsyncIterator[FakeBridge]:
        """Its bridge dials again and again."""
        bridge = FakeBridge(
            f"127.0.0.1:{self.port}",
            (self.directory / "tls" / "ca.crt").read_bytes(),
            self.token,
            answer=running,
            ports=dict.fromkeys(TunnelTarget.values(), self.ray_port),
        )
        task = asyncio.create_task(self._dial(bridge))
        try:
            yield bridge
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _dial(self, bridge: FakeBridge) -> None:
        while True:
            with contextlib.suppress(BaseExceptionGroup):
                await bridge.run(0.5)
            await asyncio.sleep(0.2)

    async def until(self, what: str, holds: Callable[[], bool], seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(holds):
            assert time.monotonic() < deadline, f"{what} did not come: {self.status()}"
            await asyncio.sleep(0.2)

    def status(self) -> dict[str, Any]:
        return dict(self.plane.api.get(self.objects.path("matrixclusters", "lab")).get("status") or {})

    def condition(self, type_: str = "Ready") -> tuple[str, str]:
        found = next((item for item in self.status().get("conditions", ()) if item["type"] == type_), {})
        return found.get("status", ""), found.get("reason", "")

    def there(self, plural: str, name: str) -> bool:
        return self.plane.api.exists(self.objects.path(plural, name))


@pytest.fixture
def world(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[World]:
    with serve(FakeRay()) as ray, operators(tmp_path, control_plane, namespace) as crew:
        yield World(control_plane, namespace, tmp_path, crew, ray)


def create(world: World, site: str = "fair") -> None:
    world.objects.create("matrixclusters", "lab", {"backend": {"slurm": {"site": site}}})


async def gateway(world: World) -> int:
    """What its published address answers to."""
    endpoint = next(item for item in world.status()["endpoints"] if item["name"] == "dashboard")
    assert endpoint["scope"] == "Machine"
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        return (await http.get(f"{endpoint['url']}/api/version")).status_code


async def way(world: World) -> str:
    """How a client of the same machine finds the cluster's models."""
    context = KubernetesContext(None, world.plane.kubeconfig, {})
    try:
        found = await context.way(await (await context.store()).get(ObjectKey("MatrixCluster", world.namespace, "lab")))
    finally:
        await context.close()
    urls = {endpoint["name"]: urlsplit(endpoint["url"]).netloc for endpoint in world.status()["endpoints"]}
    return "straight to the published ports" if found == Way(urls["grpc"], urls["openai"]) else str(found)


@pytest.mark.timeout(600)
def test_a_cluster_at_a_site_from_its_object_to_its_end_over_an_operator_that_is_killed(world: World) -> None:
    async def scenario() -> None:
        first = world.operator()
        await asyncio.to_thread(first.leading)
        create(world)
        await world.until("a word of the site's absence", lambda: world.condition() == ("Unknown", "BackendUnreachable"))
        async with world.site() as bridge:
            await world.until("ready", lambda: world.condition() == ("True", "Ready"))
            assert await gateway(world) == 200
            assert await way(world) == "straight to the published ports"
            assert set(bridge.told[-1].secrets) == {"ray-token", "client-token"}
            hub, instance = bridge.hub, dict(bridge.told[-1].secrets)

            second = world.operator()
            await asyncio.to_thread(second.standing_by)
            told = len(bridge.told)
            first.process.kill()
            bridge.welcomed.clear()
            await asyncio.wait_for(bridge.welcomed.wait(), SECONDS)
            assert bridge.hub == hub, "it is the same hub to the site"
            assert await asyncio.to_thread(lambda: second.metric('matrix_hub_site_connected{site="fair"}')) == 1
            await world.until("a word of the other operator", lambda: len(bridge.told) > told)
            await world.until("an address that answers", lambda: world.condition() == ("True", "Ready"))
            assert dict(bridge.told[-1].secrets) == instance, "tokens stay"
            assert {wish.phase for wish in bridge.told} == {ClusterDesired.PRESENT}

            world.plane.api.delete(world.objects.path("matrixclusters", "lab"))
            await world.until("its end", lambda: not world.there("matrixclusters", "lab"))
            assert bridge.told[-1].phase == ClusterDesired.DELETE
            assert not world.there("secrets", "lab-ray-token")
            assert not world.there("secrets", "lab-client-token")

    asyncio.run(scenario())


@pytest.mark.timeout(300)
def test_a_site_that_goes_is_told_of_and_takes_nothing_with_it(world: World) -> None:
    async def scenario() -> None:
        await asyncio.to_thread(world.operator().leading)
        create(world)
        async with world.site() as bridge:
            await world.until("ready", lambda: world.condition() == ("True", "Ready"))
        endpoints = world.status()["endpoints"]
        told = len(bridge.told)
        await world.until("silence", lambda: world.condition("BackendReachable") == ("Unknown", "BackendUnreachable"))
        assert "the bridge of site fair (u@login1) is not connected" in world.status()["summary"]
        assert world.status()["endpoints"] == endpoints
        world.plane.api.delete(world.objects.path("matrixclusters", "lab"))
        await world.until("a deletion that waits", lambda: world.condition("HeadReady") == ("Unknown", "Deleting"))
        assert world.there("matrixclusters", "lab"), "nothing has confirmed that its jobs are gone"
        async with world.site() as again:
            await world.until("its end", lambda: not world.there("matrixclusters", "lab"))
        assert {wish.phase for wish in again.told} == {ClusterDesired.DELETE}
        assert told == len(bridge.told)

    asyncio.run(scenario())


@pytest.mark.timeout(300)
def test_a_site_that_nobody_configured_is_told_and_does_not_hold_the_object(world: World) -> None:
    async def scenario() -> None:
        await asyncio.to_thread(world.operator().leading)
        create(world, "fiar")
        await world.until(
            "a word", lambda: "no site fiar is known to this operator's hub (there is fair)" in world.status().get("summary", "")
        )
        world.plane.api.delete(world.objects.path("matrixclusters", "lab"))
        await world.until("its end", lambda: not world.there("matrixclusters", "lab"))

    asyncio.run(scenario())
