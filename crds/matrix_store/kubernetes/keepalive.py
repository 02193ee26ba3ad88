"""TCP's keepalive, for connections on which nothing may come for long, such as a log that is followed."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2

_OPTIONS = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""In seconds: a server that has gone without a word is noticed after a minute. Those that the platform has: what Linux calls TCP_KEEPIDLE
is TCP_KEEPALIVE on macOS (docs.python.org, socket)."""


def keep_alive(connected: Any) -> None:
    """There is no socket any more where the other side closed at once: what it sent before can still be read."""
    if connected is None:
        return
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS.items():
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def keep_alive_from_here(request: httpx2.Request) -> None:
    """A hook for all requests of a client. A transport with socket options would have to be made anew for each proxy of the environment."""
    request.extensions["trace"] = _connected


async def _connected(event: str, told: Mapping[str, Any]) -> None:
    """An extension of httpcore2 ("trace"), told of all that goes on in a request. What the events' names begin with tells the way:
    `connection` or `socks`."""
    if event.endswith(".connect_tcp.complete"):
        keep_alive(told["return_value"].get_extra_info("socket"))
