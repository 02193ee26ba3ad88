"""`Matrix("kubernetes")` from outside of the cluster: tokens and keys out of Secrets, requests through forwarded ports."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from matrix_client import AsyncMatrix
from matrix_client.api_keys import issue
from matrix_client.context import Way
from matrix_client.errors import ControllerFailed, KeysUnreadable, NotReady, UsageError
from matrix_client.kubernetes_context import REACH, KubernetesContext
from matrix_proto.errors import MODEL_HEADER
from matrix_proto.keys import ApiKey, ApiKeys
from matrix_store.errors import Forbidden
from matrix_store.port import StoredObject
from tests.fakes.kubelet import FakeKubelet, kubelet
from tests.lab.control_plane import ControlPlane
from tests.unit.client.directory import TOKEN, FakeDirectory
from tests.unit.client.directory import replica as known
from tests.unit.client.replica import Replica
from tests.unit.client.worlds import CHAT, LAB, manifest, ready

SECONDS = 200.0
GROUP = "/apis/matrix.dev/v1alpha1"
HEAD = {"ray.io/cluster": "lab", "ray.io/node-type": "head"}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Gateway(Replica):
    """A replica that keeps what it was sent beside the request."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[str] = []

    async def _admit(self, context: Any) -> None:
        self.models += [str(value) for key, value in context.invocation_metadata() if key == MODEL_HEADER]
        await super()._admit(context)


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    with kubelet(control_plane, "requests") as fake:
        yield fake


class Place:
    """A namespace with a MatrixCluster `lab` and a ModelDeployment `chat`, whose statuses are written by hand."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self.uid = self._create("matrixclusters", LAB.name, manifest(LAB), ready(endpoints=self._endpoints()))
        self._create("modeldeployments", CHAT.name, manifest(CHAT), ready())

    def _endpoints(self) -> list[dict[str, str]]:
        gateway = f"http://lab-gateway.{self.namespace}.svc:8470/v1"
        directory = f"grpc://lab-gateway.{self.namespace}.svc:8472"
        return [{"name": name, "url": url, "scope": "Cluster"} for name, url in (("openai", gateway), ("grpc", directory))]

    def _create(self, plural: str, name: str, wanted: dict[str, Any], status: dict[str, Any]) -> str:
        path = f"{GROUP}/namespaces/{self.namespace}/{plural}"
        wanted["metadata"]["namespace"] = self.namespace
        made = self.plane.api.create(path, wanted)
        self.plane.api.http.patch(f"{path}/{name}/status", json={"status": status}, headers=_MERGE).raise_for_status()
        return str(made["metadata"]["uid"])

    def secret(self, name: str, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
        self.plane.api.create(f"/api/v1/namespaces/{self.namespace}/secrets", body)

    def service(self) -> None:
        """In front of the head, as the operator makes it."""
        ports = [{"name": f"port-{number}", "port": number} for number in (8470, 8472)]
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lab-gateway"}, "spec": {"selector": HEAD, "ports": ports}}
        self.plane.api.create(f"/api/v1/namespaces/{self.namespace}/services", body)

    def allow(self, user: str, *rules: dict[str, Any]) -> None:
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": user}, "rules": list(rules)}
        self.plane.api.create(f"{rbac}/roles", role)
        subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
        binding = {"apiVersion": role["apiVersion"], "kind": "RoleBinding", "metadata": {"name": user}}
        self.plane.api.create(f"{rbac}/rolebindings", binding | {"subjects": [subject], "roleRef": reference})

    def run(self, work: Callable[[KubernetesContext, StoredObject], Awaitable[Any]], user: str = "") -> Any:
        """With a context of its own, and the cluster."""

        async def session() -> Any:
            context = KubernetesContext(kubeconfig=self.plane.kubeconfig_for(user) if user else self.plane.kubeconfig)
            try:
                async with asyncio.timeout(SECONDS):
                    store = await context.store()
                    return await work(context, await store.get(LAB._replace(namespace=self.namespace)))
            finally:
                await context.close()

        return asyncio.run(session())


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Place:
    return Place(control_plane, namespace)


def test_chat_goes_through_the_gateway_and_follows_it_to_another_pod(place: Place, node: FakeKubelet) -> None:
    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        async with Gateway() as gateway, FakeDirectory() as directory:
            ports = {8470: _port(gateway.address), 8472: _port(directory.address)}
            await asyncio.to_thread(node.add, place.namespace, "lab-head-1", HEAD, ports)
            for id_ in ("one", "two"):
                directory.put(known(id_, "10.9.9.9:1"))
            async with AsyncMatrix(context, namespace=place.namespace) as matrix:
                assert str(await matrix.chat("chat", "hello")) == "one two three"
                pieces = [piece.text async for piece in await matrix.chat("chat", "hello", stream=True)]
                assert "".join(pieces) == "one two three"
                await asyncio.gather(*(matrix.chat("chat", "hello") for _ in range(50)))
                assert set(gateway.models) == {"chat"} and len(gateway.models) == 52

                await asyncio.to_thread(node.remove, place.namespace, "lab-head-1")
                await asyncio.to_thread(node.add, place.namespace, "lab-head-2", HEAD, ports)
                await gateway.stop()
                await gateway.start()
                assert str(await matrix.chat("chat", "hello")) == "one two three"

    place.secret("lab-client-token", token=TOKEN)
    place.service()
    place.run(work)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_a_token_that_is_not_there_yet_is_said(place: Place) -> None:
    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        with pytest.raises(NotReady, match=r"client token is not there yet \(Secret lab-client-token\)"):
            await context.client_token(cluster)
        await asyncio.to_thread(place.secret, "lab-client-token", token="secret\n")
        assert await context.client_token(cluster) == "secret"

    place.run(work)


def test_who_may_not_read_secrets_is_told_what_to_ask_for(place: Place) -> None:
    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        with pytest.raises(Forbidden, match="administrator for a role with `get` on secrets, resourceName lab-client-token"):
            await context.client_token(cluster)
        with pytest.raises(Forbidden, match="`get` on secrets, resourceName lab-api-keys"):
            await context.read_keys(cluster)

    place.allow("ann", {"apiGroups": ["matrix.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]})
    place.run(work, user="ann")


def test_of_two_who_issue_keys_at_once_none_is_lost(place: Place) -> None:
    def key(number: int) -> ApiKey:
        return issue(str(number), datetime.now(UTC))[1]

    def add(record: ApiKey, before: ApiKeys) -> ApiKeys:
        return before.model_copy(update={"keys": (*before.keys, record)})

    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        assert (await context.read_keys(cluster)).keys == ()
        await asyncio.gather(*(context.change_keys(cluster, partial(add, key(number))) for number in range(6)))
        assert sorted(int(stored.name) for stored in (await context.read_keys(cluster)).keys) == list(range(6))

    place.run(work)
    secret = place.plane.api.get(f"/api/v1/namespaces/{place.namespace}/secrets/lab-api-keys")
    assert secret["metadata"]["labels"]["matrix.dev/uid"] == place.uid
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [place.uid]


def test_keys_of_a_former_cluster_and_damaged_ones_are_not_taken_for_its_own(place: Place) -> None:
    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        with pytest.raises(KeysUnreadable, match="is damaged"):
            await context.read_keys(cluster)
        other = StoredObject({**cluster.raw, "metadata": {**cluster.raw["metadata"], "uid": "another"}})
        label = {"metadata": {"labels": {"matrix.dev/uid": place.uid}}}
        path = f"/api/v1/namespaces/{place.namespace}/secrets/lab-api-keys"
        await asyncio.to_thread(lambda: place.plane.api.http.patch(path, json=label, headers=_MERGE).raise_for_status())
        with pytest.raises(KeysUnreadable, match="a former cluster"):
            await context.read_keys(other)

    place.secret("lab-api-keys", **{"api-keys.json": "{]"})
    place.run(work)


def test_where_names_are_reached_as_they_are_nothing_is_forwarded(place: Place) -> None:
    def way(environ: dict[str, str]) -> Way:
        async def session() -> Way:
            context = KubernetesContext(kubeconfig=place.plane.kubeconfig, environ=environ)
            try:
                return await context.way(await (await context.store()).get(LAB._replace(namespace=place.namespace)))
            finally:
                await context.close()

        return asyncio.run(session())

    assert way({REACH: "inside"}) == Way(f"lab-gateway.{place.namespace}.svc:8472")
    assert way({}).directory.startswith("127.0.0.1:") and way({}).gateway.startswith("127.0.0.1:")
    with pytest.raises(UsageError, match="`inside` or `outside`"):
        way({REACH: "maybe"})


def test_waiting_for_what_nobody_works_on_ends_with_the_reason(place: Place) -> None:
    async def work(context: KubernetesContext, cluster: StoredObject) -> None:
        for _ in range(2):
            await context.supervise()  # an operator may just be starting
        with pytest.raises(ControllerFailed, match="no Lease matrix-operator in any namespace"):
            while True:
                await context.supervise()
                await asyncio.sleep(0.2)

    place.run(work)
