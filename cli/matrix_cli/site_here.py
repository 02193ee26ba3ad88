"""The operator's port of the sites, where the site is this machine's own: its agent runs in the same process.

The agent is imported and started when a cluster first asks for the site, so whoever uses one machine alone never meets it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from matrix_operator.backends.slurm.sites import SiteRefusal, SiteReport, SiteSilence
from matrix_operator.tasks import first_to_end
from matrix_proto.bridge_pb2 import Address, ClusterDesired, ClusterReport, TunnelTarget

if TYPE_CHECKING:
    from matrix_slurm_bridge.agent.loop import Agent
    from matrix_slurm_bridge.agent.site_file import SiteFile

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""After the agent could not be started."""
_PORTS: dict[TunnelTarget, Callable[[Address], int]] = {
    TunnelTarget.DASHBOARD: lambda address: address.dashboard_port,
    TunnelTarget.STATE: lambda address: address.state_port,
    TunnelTarget.DIRECTORY: lambda address: address.directory_port,
    TunnelTarget.GATEWAY: lambda address: address.gateway_port,
}


class SiteHere:
    """A `Sites` with at most one site: the one of the site's file. For one event loop; a context manager ends the agent."""

    def __init__(self) -> None:
        self._agent: Agent | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._wishes: dict[str, ClusterDesired] = {}

    async def __aenter__(self) -> SiteHere:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def want(self, site: str, desired: ClusterDesired) -> None:
        if refusal := self._foreign(site):
            raise SiteRefusal(refusal)
        self._wishes[desired.uid] = desired
        self._start()
        if self._agent is not None:
            self._agent.want(desired)

    def forget(self, site: str, uid: str) -> None:
        self._wishes.pop(uid, None)
        if self._agent is not None:
            self._agent.forget(uid)

    def report(self, site: str, uid: str) -> SiteReport | SiteSilence:
        if refusal := self._foreign(site):
            return SiteSilence(refusal, listening=False)
        self._start()
        if self._agent is None:
            return SiteSilence(self._problem or f"the agent of site {site} is being started", listening=not self._problem)
        found = self._agent.report(uid)
        if found is None:
            return SiteSilence(f"site {site} has not looked at its queue yet")
        return SiteReport(datetime.now(UTC) - timedelta(seconds=self._agent.busy_seconds), found)

    def pulse(self, site: str, uid: str) -> Hashable:
        found = self._agent.report(uid) if self._agent else None
        if found is None:
            return self._problem
        copy = ClusterReport()
        copy.CopyFrom(found)
        copy.ClearField("looked_at")
        return copy.SerializeToString(deterministic=True)

    async def reach(self, site: str, uid: str, target: TunnelTarget) -> str | None:
        """Straight to the head: login nodes and compute nodes are in one network."""
        found = self._agent.report(uid) if self._agent else None
        if found is None or not found.HasField("address") or target not in _PORTS:
            return None
        host = f"[{found.address.host}]" if ":" in found.address.host else found.address.host
        return f"{host}:{_PORTS[target](found.address)}"

    @cached_property
    def _file(self) -> SiteFile:
        from matrix_slurm_bridge.agent.site_file import SiteFile

        return SiteFile()

    def _foreign(self, site: str) -> str:
        """Why that site is not ours; empty if it is."""
        from matrix_slurm_bridge.site import SiteError

        try:
            here = self._file.read().site
        except SiteError as error:
            return str(error)
        return "" if here == site else f"this is site {here}, and not {site}: change spec.backend.slurm.site, or apply it at {site}"

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        """An agent, again and again."""
        from matrix_slurm_bridge.agent.errors import AgentError
        from matrix_slurm_bridge.agent.start import agent_directory, started
        from matrix_slurm_bridge.agent.status import keep_status
        from matrix_slurm_bridge.site import SiteError

        while True:
            try:
                async with started(self._file) as (agent, _, site):
                    self._agent, self._problem = agent, ""
                    for wish in self._wishes.values():
                        agent.want(wish)
                    await first_to_end(agent.run(), keep_status(agent, agent_directory(site.shared), dict))
            except (AgentError, SiteError) as error:
                self._problem = str(error)
                log.warning("the site's agent: %s", error)
            finally:
                self._agent = None
            await asyncio.sleep(AGAIN_SECONDS)
