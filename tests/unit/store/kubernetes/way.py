"""A server that is reached as kubeconfigs may say: under another name, through a proxy, on somebody's behalf."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from matrix_store.kubernetes.websocket import PROTOCOL
from tests.lab.certificates import Authority

ELSEWHERE = "https://api.nowhere.test:6443"
"""An address that only the proxy knows."""


@dataclass
class Gate:
    """A server with TLS at a port of this machine, whose certificate is for `name` alone, and a proxy that leads to nothing else."""

    name: str
    scheme: str = "http"
    port: int = 0
    proxy_port: int = 0
    authority: bytes = b""
    seen: list[Request] = field(default_factory=list)
    """What the server was asked."""
    names: list[str | None] = field(default_factory=list)
    """By which names (SNI)."""
    asked: list[str] = field(default_factory=list)
    """The first lines of what the proxy was asked."""

    @property
    def proxy(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.proxy_port}"

    def kubeconfig(self, directory: Path, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
        """`cluster`: fields, such as its server."""
        authority = base64.b64encode(self.authority).decode()
        known = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority} | cluster
        path = directory / "config"
        path.write_text(yaml.safe_dump({
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
            "clusters": [{"name": "lab", "cluster": known}],
            "users": [{"name": "me", "user": user or {"token": "t"}}],
        }))  # fmt: skip
        return path

    def impersonated(self) -> list[list[tuple[str, str]]]:
        """Of each request what it says about on whose behalf it is made."""
        told = [[(name.lower(), value) for name, value in one.headers.raw_items()] for one in self.seen]
        return [[(name, value) for name, value in headers if name.startswith("impersonate-")] for headers in told]


@asynccontextmanager
async def gate(directory: Path, name: str = "127.0.0.1", scheme: str = "http") -> AsyncIterator[Gate]:
    """`scheme`: the proxy's."""
    authority = Authority()
    authority.server("api", [name]).write(directory, "api")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "api.crt", directory / "api.key")
    opened = Gate(name, scheme, authority=authority.identity.certificate)
    tls.sni_callback = lambda _socket, asked, _context: opened.names.append(asked)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        opened.seen.append(request)
        return None if "Upgrade" in request.headers else connection.respond(200, "{}")

    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.asked.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        there, back = await asyncio.open_connection("127.0.0.1", opened.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    async with (
        serve(_wait, "127.0.0.1", 0, ssl=tls, subprotocols=[PROTOCOL], process_request=answer) as server,
        await asyncio.start_server(proxied, "127.0.0.1", 0, ssl=tls if scheme == "https" else None) as proxy,
    ):
        opened.port = next(iter(server.sockets)).getsockname()[1]
        opened.proxy_port = proxy.sockets[0].getsockname()[1]
        yield opened


async def _wait(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()
