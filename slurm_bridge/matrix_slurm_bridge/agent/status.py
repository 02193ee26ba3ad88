"""What an agent says of itself for `matrix bridge status`: one small file beside its lock, replaced as a whole."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from matrix_slurm_bridge.agent.loop import Agent
from matrix_store.files import replace_file

log = logging.getLogger(__name__)

FILE = "status.json"
WRITE_SECONDS = 10.0
SOONEST_SECONDS = 1.0


async def keep_status(agent: Agent, directory: Path, hub: Callable[[], Mapping[str, Any]]) -> None:
    """Writes it after each change, until cancelled. A directory that takes no file is told by the agent's own work."""
    with agent.listening() as changed:
        while True:
            changed.clear()
            clusters = [MessageToDict(report) for report in agent.reports()]
            record = {"writtenAt": datetime.now(UTC).isoformat(), "hub": hub(), "clusters": clusters}
            with suppress(OSError):
                await asyncio.to_thread(replace_file, directory / FILE, json.dumps(record, indent=1).encode())
            await asyncio.sleep(SOONEST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await changed.wait()


def read_status(directory: Path) -> Mapping[str, Any] | None:
    """None if there is none, or none that can be read."""
    try:
        record = json.loads((directory / FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
