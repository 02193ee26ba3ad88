"""Addresses as text, and ports that a predecessor may still hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Taken = TypeVar("Taken")


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
