"""HAProxy's runtime socket: asking, and reading its answers (https://docs.haproxy.org/2.8/management.html#9.3)."""

from __future__ import annotations

import asyncio
import csv
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix_runtime.gateway.desired import MAPS
from matrix_runtime.gateway.limits import SOCKET_SECONDS
from matrix_runtime.gateway.slots import SIDECAR

FORCED_MAINTENANCE, FORCED_DRAIN = 0x01, 0x08
"""Bits of srv_admin_state."""


_FRONTENDS, _BACKENDS, _SERVERS = 1, 2, 4
"""Bits of the type in `show stat`."""


class Frozen(OSError):
    """HAProxy does not answer."""


@dataclass(frozen=True)
class ActualServer:
    """A server as HAProxy has it."""

    host: str
    port: int
    weight: int
    admin_state: int

    @property
    def in_maintenance(self) -> bool:
        return bool(self.admin_state & FORCED_MAINTENANCE)

    @property
    def draining(self) -> bool:
        return bool(self.admin_state & FORCED_DRAIN)


@dataclass(frozen=True)
class Actual:
    """What there is: see Desired."""

    maps: Mapping[str, Mapping[str, str]]
    servers: Mapping[str, Mapping[str, ActualServer]]


class AdminSocket:
    """One question a connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: str) -> str:
        """The answer, without surrounding space. Raises OSError; Frozen when none comes."""
        try:
            async with asyncio.timeout(SOCKET_SECONDS):
                return await self._ask(command)
        except TimeoutError as error:
            raise Frozen(f"HAProxy has not answered on its runtime socket for {SOCKET_SECONDS:g} s") from error

    async def _ask(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(command.encode() + b"\n")
            return (await reader.read()).decode(errors="replace").strip()
        finally:
            writer.close()

    async def look(self, map_path: Mapping[str, Path]) -> Actual:
        """Servers and maps."""
        maps = {name: parse_map(await self.ask(f"show map {map_path[name]}")) for name in MAPS}
        servers = parse_servers(await self.ask("show servers state"))
        return Actual(maps, {backend: found for backend, found in servers.items() if backend != SIDECAR})

    async def sessions(self) -> dict[str, int]:
        """Server name -> requests that it is answering now, in all of its backends."""
        return sessions(parse_statistics(await self.ask(f"show stat -1 {_SERVERS} -1")))

    async def statistics(self) -> list[dict[str, str]]:
        """A row for each frontend and backend."""
        return parse_statistics(await self.ask(f"show stat -1 {_FRONTENDS | _BACKENDS} -1"))


def parse_servers(text: str) -> dict[str, dict[str, ActualServer]]:
    """Of `show servers state`: the version in a line of its own, then the names of the columns, then the servers."""
    lines = [line.split(" ") for line in text.splitlines()[1:]]
    columns = [name for name in lines[0] if name != "#"] if lines else []
    servers: dict[str, dict[str, ActualServer]] = {}
    for values in lines[1:]:
        row = dict(zip(columns, values, strict=False))
        server = ActualServer(row["srv_addr"], int(row["srv_port"]), int(row["srv_uweight"]), int(row["srv_admin_state"]))
        servers.setdefault(row["be_name"], {})[row["srv_name"]] = server
    return servers


def parse_map(text: str) -> dict[str, str]:
    """Of `show map`: a pointer, the key, the value."""
    entries = (line.split(" ", 2) for line in text.splitlines() if line.startswith("0x"))
    return {entry[1]: entry[2] if len(entry) > 2 else "" for entry in entries}


def parse_statistics(text: str) -> list[dict[str, str]]:
    """Of `show stat`: CSV whose first line begins with "# "."""
    return list(csv.DictReader(text.removeprefix("# ").splitlines()))


def sessions(rows: list[dict[str, str]]) -> dict[str, int]:
    """Of the rows of servers: requests now, by name."""
    found: Counter[str] = Counter()
    for row in rows:
        found[row["svname"]] += int(row["scur"] or 0)
    return dict(found)


def escaped(value: str) -> str:
    """As one word of a command."""
    return re.sub(r"([\\ ;#\"'])", r"\\\1", value)
