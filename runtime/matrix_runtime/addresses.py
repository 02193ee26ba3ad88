"""Addresses as text, and ports that a predecessor may still hold."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TypeVar

Taken = TypeVar("Taken")


EVERYWHERE = frozenset({"0.0.0.0", "::"})
"""As the address of a server: all of them, of both families where the machine has both."""


def listening(host: str) -> str:
    """The address to bind for `host`: for "everywhere" the one that takes IPv4 and IPv6, where that can be had."""
    if host not in EVERYWHERE:
        return host
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def announced(host: str, own: Callable[[], str]) -> str:
    """Where others reach a server that binds `host`: `own` gives the node's address, for one that listens everywhere."""
    return own() if host in EVERYWHERE else host


def from_here(host: str) -> str:
    """Where the same node reaches a server that binds `host`."""
    return "127.0.0.1" if host in EVERYWHERE else host


def host_port(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def take_soon(take: Callable[[], Taken], seconds: float) -> Taken:
    """What `take` gives, tried again for some seconds while it raises OSError: a predecessor may still hold the port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return take()
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
