"""Whether anything listens at an address: a closed port tells of a dead replica before its silence does."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

PROBE_SECONDS = 1.0


async def closed(url: str) -> bool:
    """Whether the connection is refused. Anything else (a time-out, no way to the host, no such URL) is not known, and so no."""
    try:
        where = urlsplit(url)
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(where.hostname, where.port)
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return False
