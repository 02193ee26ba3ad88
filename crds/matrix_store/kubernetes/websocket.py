"""A websocket to a subresource of a pod: how port-forward and exec go on after the API server has let one through.

Protocol v4.channel.k8s.io: each message begins with the number of a channel (k8s.io/apimachinery, pkg/util/httpstream/wsstream).
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from matrix_store.errors import Forbidden, NotFound, StoreError, Unavailable
from matrix_store.kubernetes.connection import AGENT, SOCKS, Connection
from matrix_store.kubernetes.faults import refusal_of, unreachable
from matrix_store.kubernetes.keepalive import keep_alive

PROTOCOL = Subprotocol("v4.channel.k8s.io")
OPEN_SECONDS = 10.0
"""Until the kubelet has answered."""
QUEUED_MESSAGES = 64
"""Of at most 32 KiB each, before reading from the network stops."""


def pod_path(namespace: str, pod: str, subresource: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/{subresource}"


async def open_websocket(connection: Connection, path: str, query: str) -> ClientConnection:
    """`path` is that of a pod's subresource. Raises NotFound, Forbidden, Rejected, Unavailable."""
    url = f"{connection.server.rstrip('/')}{path}?{query}"
    request = httpx2.Request("GET", url)
    flow = connection.auth.async_auth_flow(request) if connection.auth else None
    try:
        if flow is not None:
            request = await anext(flow)
        try:
            return await _upgrade(connection, url, request)
        except InvalidStatus as refused:
            if flow is None or refused.response.status_code != 401:
                raise
            request = await flow.asend(httpx2.Response(401, request=request))  # such as a token that was renewed meanwhile
            return await _upgrade(connection, url, request)
    except StopAsyncIteration:
        raise refusal_of({}, 401, path) from None
    except InvalidStatus as refused:
        raise _refusal(refused, path) from refused
    except ImportError as error:
        raise Unavailable(f"{connection.server} {SOCKS}") from error
    except (WebSocketException, OSError, TimeoutError) as error:
        raise unreachable(error, connection.server) from error


async def _upgrade(connection: Connection, url: str, request: httpx2.Request) -> ClientConnection:
    secure = url.startswith("https:")
    headers = [(name, value) for name, value in request.headers.items() if name == "authorization"]
    headers += [(name, value.encode().decode("latin-1")) for name, value in connection.headers]  # websockets writes Latin 1
    opened = await connect(
        url.replace("http", "ws", 1),
        ssl=connection.tls if secure else None,
        subprotocols=[PROTOCOL],
        additional_headers=headers,
        user_agent_header=AGENT,
        compression=None,
        open_timeout=OPEN_SECONDS,
        ping_interval=None,  # the answer would wait behind data that nobody reads for the moment
        max_size=None,
        max_queue=QUEUED_MESSAGES,
        **_proxy(connection),
    )
    keep_alive(opened.transport.get_extra_info("socket"))
    return opened


def _proxy(connection: Connection) -> dict[str, Any]:
    """None named: what the environment says. As kubectl does, the server's name is left to the proxy to look up, and a proxy with TLS
    must have a certificate that the server's authority has signed."""
    if connection.proxy is None:
        return {}
    url = connection.proxy.replace("socks5:", "socks5h:", 1)
    return {"proxy": url, "proxy_ssl": connection.tls} if url.startswith("https:") else {"proxy": url}


def _refusal(refused: InvalidStatus, path: str) -> StoreError:
    response = refused.response
    body = response.body or b""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:200].decode(errors="replace").strip() or response.reason_phrase}
    error = refusal_of(status, response.status_code, path)
    pod, subresource = path.split("/")[-2:]
    if isinstance(error, NotFound):
        return NotFound(f"pod {pod} is not there")
    if isinstance(error, Forbidden):
        return Forbidden(f"{error} with `get` and `create` on pods/{subresource}")
    return error
