"""What pods say: their containers' output, and programs that are run in them for their output."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlencode

import httpx2
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from matrix_store.errors import Forbidden, StoreError, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import CONNECT_SECONDS, Connection
from matrix_store.kubernetes.faults import refusal, unreachable
from matrix_store.kubernetes.transport import LineSplitter, reply
from matrix_store.kubernetes.websocket import open_websocket, pod_path
from matrix_store.port import Raw

STDOUT, STDERR, ENDED = 1, 2, 3


async def labelled(api: Api, namespace: str, label: str, value: str) -> list[Raw]:
    """The pods with that label, by name."""
    try:
        found, _ = await api.list_all(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"{label}={value}")
    except Forbidden as error:
        raise Forbidden(f"{error} with `list` on pods") from error
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


async def output_of(
    connection: Connection,
    namespace: str,
    pod: str,
    container: str,
    *,
    lines: int | None = None,
    since: str = "",
    stamps: bool = False,
    follow: bool = False,
    previous: bool = False,
) -> AsyncIterator[str]:
    """The last `lines` lines that a container wrote (None: all), then, with `follow`, what it writes until it ends; `previous`: of the one
    before its last restart; `stamps`: each behind the time of its writing; `since`: from the second of that time on. Raises NotFound,
    Forbidden, Rejected (it has not started; there was none before), Unavailable."""
    flags = {"follow": follow, "previous": previous, "timestamps": stamps}
    params = {"container": container} | {name: "true" for name, given in flags.items() if given}
    if lines is not None:
        params["tailLines"] = str(lines)
    if since:
        params["sinceTime"] = since
    path, timeout = pod_path(namespace, pod, "log"), httpx2.Timeout(30.0, connect=CONNECT_SECONDS, read=None if follow else 30.0)
    try:
        async with connection.http.stream("GET", path, params=params, timeout=timeout) as answer:
            if answer.status_code >= 400:
                await answer.aread()
                raise _with_right(refusal(reply(answer)), "get", "pods/log")
            splitter = LineSplitter()
            async for piece in answer.aiter_bytes():
                for line in splitter.whole(piece):
                    yield line.decode(errors="replace")
            if splitter.rest:
                yield splitter.rest.decode(errors="replace")
    except (httpx2.HTTPError, OSError) as error:
        raise unreachable(error, connection.server) from error


async def run(connection: Connection, namespace: str, pod: str, container: str, argv: Sequence[str]) -> AsyncIterator[str]:
    """The lines that a program in a container prints to stdout. Its stdin is open, and ends when the iteration does: nothing else tells
    it that nobody reads any more. Raises NotFound, Forbidden, and Unavailable when it fails or breaks off."""
    streams = [(name, "true") for name in ("stdin", "stdout", "stderr")]
    query = urlencode([("container", container), *streams, *(("command", word) for word in argv)])
    opened = await open_websocket(connection, pod_path(namespace, pod, "exec"), query)
    printed, complaints = LineSplitter(), b""
    try:
        while True:
            try:
                message = await opened.recv(decode=False)
            except ConnectionClosedOK:
                break
            channel, data = (message[0], message[1:]) if message else (STDOUT, b"")
            if channel == STDOUT:
                for line in printed.whole(data):
                    yield line.decode(errors="replace")
            elif channel == STDERR:
                complaints = (complaints + data)[-1000:]
            elif channel == ENDED and json.loads(data or b"{}").get("status") != "Success":
                raise Unavailable(f"{argv[0]} in pod {pod} failed: {_one_line(complaints) or _one_line(data)}")
        if printed.rest:
            yield printed.rest.decode(errors="replace")
    except ConnectionClosed as error:
        raise Unavailable(f"the connection to pod {pod} broke: {error}") from error
    finally:
        await opened.close()


def _with_right(error: StoreError, verb: str, resource: str) -> StoreError:
    return Forbidden(f"{error} with `{verb}` on {resource}") if isinstance(error, Forbidden) else error


def _one_line(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split())
