"""`matrix bridge run`: the agent and its way to the hub, in one process."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from matrix_proto.bridge_pb2 import Hello
from matrix_slurm_bridge.agent.site_file import PinnedSite, SiteFile
from matrix_slurm_bridge.agent.start import agent_directory, started
from matrix_slurm_bridge.agent.status import keep_status
from matrix_slurm_bridge.hub.client import PROTOCOL, HubClient
from matrix_slurm_bridge.hub.endpoint import HubEndpoint
from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.port import Slurm, SlurmError


async def run(file: SiteFile, endpoint: HubEndpoint) -> None:
    """Until SIGTERM or SIGINT; jobs go on running. Raises AgentError when another agent has the site, or takes it; SiteError, HubError."""
    endpoint.token()  # what is wrong with it is told at once
    slurm = SlurmCommands()
    async with started(file, slurm) as (agent, journal, site):
        client = HubClient(
            endpoint,
            agent,
            await _hello(endpoint.site, site, slurm),
            bound_to=lambda: asyncio.to_thread(journal.hub_id),
            bind=lambda hub_id: asyncio.to_thread(journal.bind, hub_id),
        )
        directory = agent_directory(site.shared)
        works = [agent.run(), client.run(), keep_status(agent, directory, lambda: _state(endpoint, client)), _signalled()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _hello(name: str, site: PinnedSite, slurm: Slurm) -> Hello:
    slurm_version = ""
    with suppress(SlurmError):  # it may be away at the start: it is looked at again and again later
        slurm_version = await slurm.version()
    return Hello(
        protocol=PROTOCOL,
        site=name,
        bridge_version=version("matrix-operator"),
        host=os.uname().nodename,
        user=getpass.getuser(),
        slurm_version=slurm_version,
        profiles=sorted(site.site.profiles),
        instance=secrets.token_hex(8),
    )


def _state(endpoint: HubEndpoint, client: HubClient) -> dict[str, Any]:
    state = asdict(client.state)
    since = client.state.since
    return {"address": endpoint.address} | state | {"since": since.isoformat() if since else None}


async def _signalled() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
