"""An agent of the site's file, with its lock and journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from matrix_slurm_bridge.agent import journal
from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.lock import AgentLock
from matrix_slurm_bridge.agent.loop import Agent
from matrix_slurm_bridge.agent.site_file import PinnedSite, SiteFile
from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.port import Slurm

log = logging.getLogger(__name__)

DIRECTORY = "agent"
"""Of the shared directory: lock, journal, status."""


class Started(NamedTuple):
    """An agent that holds the site's lock; its `run` is still to be called."""

    agent: Agent
    journal: Journal
    site: PinnedSite


def agent_directory(shared: Path) -> Path:
    return shared / DIRECTORY


@asynccontextmanager
async def started(file: SiteFile, slurm: Slurm | None = None) -> AsyncIterator[Started]:
    """Takes the lock, and gives it back after the block. Raises LockedElsewhere, Unusable, SiteError."""
    site = file.pinned()
    directory = agent_directory(site.shared)
    lock = AgentLock(directory)
    await asyncio.to_thread(lock.acquire)
    try:
        opened = await asyncio.to_thread(Journal, directory / journal.FILE)
        try:
            yield Started(Agent(slurm or SlurmCommands(), site.settings, opened, lock), opened, site)
        finally:
            opened.close()
    finally:
        with suppress(Unusable):
            await asyncio.to_thread(lock.release)
