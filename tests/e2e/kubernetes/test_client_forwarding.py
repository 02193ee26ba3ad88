"""A port of this machine that leads into a pod, through a real API server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from matrix_client.forwarding import Forwarding
from matrix_store.errors import Forbidden, NotFound, StoreError
from matrix_store.kubernetes.connection import Connection, connect
from matrix_store.kubernetes.services import NobodyBehind
from matrix_store.kubernetes.tunnel import tunnel
from tests.fakes.kubelet import FakeKubelet, kubelet
from tests.lab.control_plane import ControlPlane

PORT = 8470
LABELS = {"app": "target"}
SECONDS = 200.0
"""An API server that is started again takes a minute on a busy machine."""
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    with kubelet(control_plane) as fake:
        yield fake


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server in threads; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connected, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=_one, args=(connected,), daemon=True).start()

        def _one(connected: socket.socket) -> None:
            with closing(connected):
                answer(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def echo(connected: socket.socket) -> None:
    while data := connected.recv(65_536):
        connected.sendall(data)


def make_service(plane: ControlPlane, namespace: str, **spec: object) -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lab-gateway"}, "spec": spec}
    plane.api.create(f"/api/v1/namespaces/{namespace}/services", manifest)


def in_loop(plane: ControlPlane, work: Callable[[Connection], Awaitable[None]], user: str = "") -> None:
    async def run() -> None:
        connection = connect(kubeconfig=plane.kubeconfig_for(user) if user else plane.kubeconfig)
        async with asyncio.timeout(SECONDS):
            await work(connection)
        await connection.http.aclose()

    asyncio.run(run())


async def ask(address: str, data: bytes) -> bytes:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sending = asyncio.create_task(_send(writer, data))
    try:
        return await reader.readexactly(len(data))
    finally:
        sending.cancel()
        writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.parametrize(
    "spec",
    [
        {"ports": [{"port": PORT, "name": "http"}]},
        {"ports": [{"port": PORT, "targetPort": PORT, "name": "http"}]},
        {"ports": [{"port": PORT, "targetPort": 80}], "clusterIP": "None"},
    ],
    ids=["as it is", "by number", "headless"],
)
def test_bytes_arrive_whole_both_ways(control_plane: ControlPlane, namespace: str, node: FakeKubelet, spec: dict[str, object]) -> None:
    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT)
        blocks = [bytes((number,)) * (MEGABYTE + number) for number in range(4)]
        assert await asyncio.gather(*(ask(forwarding.address, block) for block in blocks)) == blocks
        await forwarding.close()

    with answering(echo) as port:
        make_service(control_plane, namespace, selector=LABELS, **spec)
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)


def test_the_end_in_the_pod_is_an_end_here_and_a_break_is_a_reset(control_plane: ControlPlane, namespace: str, node: FakeKubelet) -> None:
    told: list[str] = []

    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT, told=told.append)
        reader, writer = await asyncio.open_connection(*forwarding.address.split(":"))
        assert await reader.read() == b"bye"
        writer.close()
        node.ports["target-1"].clear()
        reader, writer = await asyncio.open_connection(*forwarding.address.split(":"))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await forwarding.close()

    with answering(lambda connected: connected.sendall(b"bye")) as port:
        make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)
    assert told == [f"port {PORT} of pod target-1: nothing listens there"]


def test_what_comes_after_the_client_has_closed_its_side_still_comes(
    control_plane: ControlPlane, namespace: str, node: FakeKubelet
) -> None:
    def answer(connected: socket.socket) -> None:
        assert connected.recv(10) == b"question"
        connected.sendall(b"x" * MEGABYTE)

    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT)
        reader, writer = await asyncio.open_connection(*forwarding.address.split(":"))
        writer.write(b"question")
        writer.write_eof()
        assert len(await reader.read()) == MEGABYTE
        writer.close()
        await forwarding.close()

    with answering(answer) as port:
        make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)


def test_the_next_connection_goes_to_the_pod_that_replaced_the_last_one(
    control_plane: ControlPlane, namespace: str, node: FakeKubelet
) -> None:
    told: list[str] = []

    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT, told=told.append)
        assert await ask(forwarding.address, b"one") == b"one"
        await asyncio.to_thread(node.remove, namespace, "target-1")
        waiting = asyncio.create_task(ask(forwarding.address, b"two"))  # while there is none it waits
        await asyncio.to_thread(node.add, namespace, "target-2", LABELS, {PORT: port})
        assert await waiting == b"two"
        await forwarding.close()

    with answering(echo) as port:
        make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)
    assert told == ["lab-gateway is at pod target-2 now"]


def test_when_the_client_leaves_the_connection_in_the_pod_ends(control_plane: ControlPlane, namespace: str, node: FakeKubelet) -> None:
    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT)
        await ask(forwarding.address, b"one")
        while node.open:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await forwarding.close()

    with answering(echo) as port:
        make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)


def test_it_outlives_the_api_server(control_plane: ControlPlane, namespace: str, node: FakeKubelet) -> None:
    told: list[str] = []

    async def work(connection: Connection) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT, told=told.append)
        reader, writer = await asyncio.open_connection(*forwarding.address.split(":"))
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        control_plane.api_server.kill()
        try:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        finally:
            await asyncio.to_thread(control_plane.api_server.start)
            await asyncio.to_thread(control_plane.ready)
        writer.close()
        assert await ask(forwarding.address, b"two") == b"two"
        await forwarding.close()

    with answering(echo) as port:
        make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
        node.add(namespace, "target-1", LABELS, {PORT: port})
        in_loop(control_plane, work)
    assert len(told) == 1 and "broke" in told[0]


def test_why_it_can_t_be_reached_is_said(control_plane: ControlPlane, namespace: str, node: FakeKubelet) -> None:
    async def refused(connection: Connection, kind: type[StoreError], words: str) -> None:
        forwarding = await Forwarding.open(connection, namespace, "lab-gateway", PORT)
        with pytest.raises(kind, match=words):
            await forwarding.find()
        await forwarding.close()

    async def no_pod(connection: Connection) -> None:
        with pytest.raises(NotFound, match="pod nobody is not there"):
            async with tunnel(connection, namespace, "nobody", PORT):
                pass

    async def no_right(connection: Connection) -> None:
        with pytest.raises(Forbidden, match="with `get` and `create` on pods/portforward"):
            async with tunnel(connection, namespace, "nobody", PORT):
                pass

    in_loop(control_plane, lambda connection: refused(connection, NobodyBehind, "no Service lab-gateway"))
    make_service(control_plane, namespace, selector=LABELS, ports=[{"port": PORT}])
    in_loop(control_plane, lambda connection: refused(connection, NobodyBehind, "there is none"))
    in_loop(control_plane, no_pod)
    in_loop(control_plane, no_right, user="nobody")
    in_loop(control_plane, lambda connection: refused(connection, Forbidden, "`get` on services and `list` on pods"), user="nobody")
