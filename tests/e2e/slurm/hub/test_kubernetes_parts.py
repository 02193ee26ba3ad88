"""What stands in Kubernetes for a cluster at a site: the Service that leads to its tunnels, its Secrets, the hub's id. On a real API
server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.port import BackendRefusal
from matrix_operator.backends.slurm.secrets import KubernetesSecrets
from matrix_operator.backends.slurm.services import OwnPod, Services
from matrix_operator.hub.identity import ANNOTATION, hub_id
from matrix_proto.bridge_pb2 import ClusterReport, TunnelTarget
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from tests.fakes.sites import SITE_ADDRESS, FakeSites, SiteReport
from tests.lab.control_plane import ControlPlane

FIRST, SECOND = OwnPod("op-1", "matrix-system", "10.1.0.1"), OwnPod("op-2", "matrix-system", "10.1.0.2")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, plane: ControlPlane, namespace: str, api: Api) -> None:
        self.plane, self.namespace, self.api = plane, namespace, api
        body = {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": "lab"}}
        made = plane.api.create(
            self.path("matrixclusters", base="/apis/matrix.dev/v1alpha1"), body | {"spec": {"backend": {"slurm": {"site": "fair"}}}}
        )
        self.cluster = MatrixCluster.model_validate(made)
        self.sites = FakeSites({target: f"127.0.0.1:{4000 + target}" for target in TunnelTarget.values()})
        report = ClusterReport(uid=self.cluster.metadata.uid, address=SITE_ADDRESS)
        self.sites.reports[self.cluster.metadata.uid] = SiteReport(self.sites.clock(), report)

    def path(self, plural: str, name: str = "", base: str = "/api/v1") -> str:
        found = f"{base}/namespaces/{self.namespace}/{plural}"
        return f"{found}/{name}" if name else found

    @property
    def slice_path(self) -> str:
        return self.path("endpointslices", "lab-gateway-site", "/apis/discovery.k8s.io/v1")

    def slice(self) -> Any:
        return self.plane.api.get(self.slice_path)

    def data(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(text) for key, text in self.plane.api.get(self.path("secrets", name))["data"].items()}


def live(plane: ControlPlane, namespace: str, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        connection = connect(kubeconfig=plane.kubeconfig)
        try:
            await scenario(World(plane, namespace, Api(connection)))
        finally:
            await connection.http.aclose()

    asyncio.run(run())


def test_a_service_leads_to_the_tunnels_of_whichever_operator_acts(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        public = await Services(world.api, world.sites, FIRST).open(world.cluster)
        assert public is not None
        assert public.gateway_url == f"http://lab-gateway.{namespace}.svc:8470"
        service = world.plane.api.get(world.path("services", "lab-gateway"))
        assert "selector" not in service["spec"]
        found = world.slice()
        assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "lab-gateway"
        assert found["endpoints"][0]["addresses"] == ["10.1.0.1"]
        ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        assert {port["name"] for port in found["ports"]} == set(ports) == {"http", "state", "directory", "dashboard"}
        assert {port["name"]: port["port"] for port in found["ports"]}["http"] == 4000 + TunnelTarget.GATEWAY
        await Services(world.api, world.sites, SECOND).open(world.cluster)
        assert world.slice()["endpoints"][0]["addresses"] == ["10.1.0.2"]

    live(control_plane, namespace, scenario)


def test_it_is_written_once_and_made_again_when_somebody_takes_it_away(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        clock = Clock()
        services = Services(world.api, world.sites, FIRST, clock)
        await services.open(world.cluster)
        version = world.slice()["metadata"]["resourceVersion"]
        clock.now += 61
        await services.open(world.cluster)
        assert world.slice()["metadata"]["resourceVersion"] == version
        world.plane.api.delete(world.slice_path)
        world.plane.api.delete(world.path("services", "lab-gateway"))
        clock.now += 61
        await services.open(world.cluster)
        assert world.slice()["endpoints"][0]["addresses"] == ["10.1.0.1"]
        assert world.plane.api.exists(world.path("services", "lab-gateway"))

    live(control_plane, namespace, scenario)


def test_at_the_end_nothing_of_it_is_left_and_without_a_head_there_is_none(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        services = Services(world.api, world.sites, FIRST)
        await services.open(world.cluster)
        await services.close(world.cluster)
        await services.close(world.cluster)
        assert not world.plane.api.exists(world.slice_path)
        assert not world.plane.api.exists(world.path("services", "lab-gateway"))
        world.sites.reports[world.cluster.metadata.uid].report.ClearField("address")
        assert await services.open(world.cluster) is None

    live(control_plane, namespace, scenario)


def test_a_service_of_somebody_else_is_not_touched(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lab-gateway"}, "spec": {"ports": [{"port": 80}]}}
        world.plane.api.create(world.path("services"), theirs)
        services = Services(world.api, world.sites, FIRST)
        with pytest.raises(BackendRefusal, match="was not made by this operator"):
            await services.open(world.cluster)
        await services.close(world.cluster)
        assert world.plane.api.exists(world.path("services", "lab-gateway"))

    live(control_plane, namespace, scenario)


def test_a_site_gets_the_tokens_the_issued_keys_and_the_users_own(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        clock = Clock()
        secrets = KubernetesSecrets(world.api, clock)
        assert await secrets.read(world.cluster) is None
        files = await secrets.files(world.cluster)
        assert set(files) == {"ray-token", "client-token"}
        assert world.data("lab-client-token")["token"] == files["client-token"]
        again = KubernetesSecrets(world.api)  # another operator
        pair = await again.read(world.cluster)
        assert pair is not None
        assert (pair.ray.encode(), pair.client.encode()) == (files["ray-token"], files["client-token"])
        own = {"hf-token": "aGY=", "ray-token": "c3RvbGVu"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lab-credentials"}, "data": own}
        world.plane.api.create(world.path("secrets"), secret)
        foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lab-api-keys"}, "data": {"api-keys.json": "e30="}}
        world.plane.api.create(world.path("secrets"), foreign)
        assert await secrets.files(world.cluster) == files, "what was read a moment ago counts"
        clock.now += 31
        now = await secrets.files(world.cluster)
        assert now == dict(files) | {"hf-token": b"hf"}, "neither another's keys, nor a token of the user's making"
        await secrets.remove(world.cluster)
        left = {item["metadata"]["name"] for item in world.plane.api.get(world.path("secrets"))["items"]}
        assert left == {"lab-credentials", "lab-api-keys"}

    live(control_plane, namespace, scenario)


def test_the_hub_has_one_id_for_the_life_of_its_lease(control_plane: ControlPlane, namespace: str) -> None:
    async def scenario(world: World) -> None:
        base = "/apis/coordination.k8s.io/v1"
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "op", "annotations": {"a": "b"}}}
        world.plane.api.create(world.path("leases", base=base), lease)
        first = await hub_id(world.api, namespace, "op")
        assert await hub_id(world.api, namespace, "op") == first
        annotations = world.plane.api.get(world.path("leases", "op", base))["metadata"]["annotations"]
        assert annotations == {"a": "b", ANNOTATION: first}

    live(control_plane, namespace, scenario)
