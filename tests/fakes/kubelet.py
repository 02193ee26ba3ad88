"""A kubelet that runs nothing: a Node whose pods are entries in a table, each port of theirs a port of this machine.

It speaks what an API server hands through for port-forward, exec and logs (k8s.io/kubelet, pkg/cri/streaming), so that clients of these can
be tried without a node. What is not asked of it here it does not know.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web

from tests.lab.control_plane import ControlPlane

PROTOCOL = "v4.channel.k8s.io"
_MERGE = {"Content-Type": "application/merge-patch+json"}
_SECOND = "2026-01-01T00:00:00"
_SUCCESS = b'{"status": "Success"}'


class FakeKubelet:
    """Made by `kubelet`."""

    def __init__(self, plane: ControlPlane, node: str) -> None:
        self._api = plane.api
        self.node = node
        self.ports: dict[str, dict[int, int]] = {}
        """Of each pod the ports that listen, with those of this machine that they stand for."""
        self.outputs: dict[str, list[str]] = {}
        """Of each pod what its container has printed."""
        self.files: dict[str, Mapping[str, list[str]]] = {}
        """Of each pod the lines of its files, by path below Ray's directory of logs."""
        self.commands: list[list[str]] = []
        """What was run."""
        self.open = 0
        """Forwarded connections that are open now."""

    def add(self, namespace: str, name: str, labels: Mapping[str, str], ports: Mapping[int, int] | None = None) -> None:
        """A pod that runs and is ready."""
        self.ports[name], self.outputs[name], self.files[name] = dict(ports or {}), [], {}
        container = {"name": "ray-head", "image": "none"}
        spec = {"nodeName": self.node, "tolerations": [{"operator": "Exists"}], "containers": [container]}
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
        pods = f"/api/v1/namespaces/{namespace}/pods"
        self._api.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        state = {"name": "ray-head", "image": "none", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {}}}
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [state]}
        self._api.http.patch(f"{pods}/{name}/status", json={"status": status}, headers=_MERGE).raise_for_status()

    def remove(self, namespace: str, name: str) -> None:
        """The pod has gone, and what listened in it."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self._api.http.request("DELETE", path, json={"gracePeriodSeconds": 0}).raise_for_status()
        self.ports[name].clear()

    async def _forward(self, request: web.Request) -> web.WebSocketResponse:
        port = int(request.query["port"])
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), compress=False, max_msg_size=0)
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
        local = self.ports[request.match_info["pod"]].get(port)
        if local is None:
            await socket.send_bytes(b"\1error forwarding port: connect: connection refused")
        else:
            await self._carry(socket, local)
        await socket.close()
        return socket

    async def _carry(self, socket: web.WebSocketResponse, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.open += 1

        async def down() -> None:
            while data := await reader.read(32 * 1024):
                await socket.send_bytes(b"\0" + data)

        async def up() -> None:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data[1:])
                    await writer.drain()

        tasks = {asyncio.create_task(down()), asyncio.create_task(up())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    async def _logs(self, request: web.Request) -> web.Response:
        """Each line was written a second after the one before it. Following ends at once, as if the container had."""
        lines = enumerate(self.outputs[request.match_info["pod"]])
        stamped = [(f"2026-01-01T00:00:{second:02}.500000000Z", line) for second, line in lines]
        since = request.query.get("sinceTime", "")
        asked = [one for one in stamped if one[0][: len(_SECOND)] >= since[: len(_SECOND)]][-int(request.query.get("tailLines", 1000)) :]
        stamps = request.query.get("timestamps") == "true"
        return web.Response(text="".join(f"{stamp} {line}\n" if stamps else f"{line}\n" for stamp, line in asked))

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        """`sh`: lists the files. `tail -v -n N -- PATH...`: as that program does it."""
        argv = request.query.getall("command")
        self.commands.append(argv)
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), compress=False)
        await socket.prepare(request)
        files = self.files[request.match_info["pod"]]
        text = "".join(f"{path}\n" for path in files) if argv[0] == "sh" else _tail(files, int(argv[3]), argv[5:])
        half = len(text) // 2
        for part in (text[:half], text[half:]):  # lines come in pieces
            await socket.send_bytes(b"\1" + part.encode())
        await socket.send_bytes(b"\3" + _SUCCESS)
        await socket.close()
        return socket

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/portForward/{namespace}/{pod}", self._forward)
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_get("/exec/{namespace}/{pod}/{container}", self._exec)
        return application

    @contextmanager
    def _listening(self, context: ssl.SSLContext) -> Iterator[int]:
        """In a thread; its port."""
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(self._application(), shutdown_timeout=0.1)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def start() -> int:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            return int(runner.addresses[0][1])

        try:
            yield asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _tail(files: Mapping[str, list[str]], count: int, paths: list[str]) -> str:
    parts = []
    for path in paths:
        lines = next(lines for name, lines in files.items() if path.endswith(f"/{name}"))
        parts.append("".join(f"{line}\n" for line in (f"==> {path} <==", *lines[-count:])))
    return "\n".join(parts)


@contextmanager
def kubelet(plane: ControlPlane, node: str = "fake") -> Iterator[FakeKubelet]:
    """A Node with such a kubelet; it is removed at the end."""
    certificate, key = plane.certify(f"kubelet-{node}", ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    fake = FakeKubelet(plane, node)
    with fake._listening(context) as port:
        metadata: dict[str, Any] = {"name": node}
        plane.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        try:
            addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
            status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
            plane.api.http.patch(f"/api/v1/nodes/{node}/status", json={"status": status}, headers=_MERGE).raise_for_status()
            yield fake
        finally:
            with suppress(Exception):
                plane.api.delete(f"/api/v1/nodes/{node}")
