"""From what HAProxy is to what it shall be, over the runtime socket: no reload, so nothing in flight is touched.

The commands are a pure function of both; they may be cut off anywhere, and the next look goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from matrix_runtime.gateway.admin import Actual, ActualServer, AdminSocket, escaped
from matrix_runtime.gateway.config import server_words
from matrix_runtime.gateway.desired import Desired, Server
from matrix_runtime.gateway.slots import GRPC_SUFFIX
from matrix_runtime.gateway.weights import TOLERANCE

STILL_BUSY = "Server still has connections attached to it"
"""The answer to `del server` while a stream has not ended: asked again with the next look."""
FINE = ("", "New server registered.", "Server deleted.")


async def reconcile(socket: AdminSocket, desired: Desired, map_path: Mapping[str, Path]) -> list[str]:
    """Brings HAProxy into line; returns what it refused, in words. Raises OSError when it does not answer."""
    actual = await socket.look(map_path)
    refused = []
    for command in commands(desired, actual, map_path):
        answer = await socket.ask(command)
        if answer not in FINE and not answer.startswith(STILL_BUSY):
            refused.append(f"{' '.join(command.split(' ')[:3])}: {answer}")
    return refused


def commands(desired: Desired, actual: Actual, map_path: Mapping[str, Path]) -> list[str]:
    """New servers come before the names that lead to them, and those before anything goes."""
    coming: list[str] = []
    going: list[str] = []
    for backend in sorted({*desired.servers, *actual.servers}):
        wanted, there = desired.servers.get(backend, {}), actual.servers.get(backend, {})
        for name in sorted({*wanted, *there}):
            steps, is_going = _server(f"{backend}/{name}", wanted.get(name), there.get(name), backend.endswith(GRPC_SUFFIX))
            (going if is_going else coming).extend(steps)
    maps = [command for name, wanted in desired.maps.items() for command in _map(map_path[name], wanted, actual.maps.get(name, {}))]
    return [*coming, *maps, *going]


def _server(path: str, wanted: Server | None, there: ActualServer | None, grpc: bool) -> tuple[list[str], bool]:
    """The steps for one server, and whether they take it away."""
    if there is None:
        return ([] if wanted is None or wanted.draining else [*_add(path, wanted, grpc), *_up(path, grpc)]), False
    if wanted is None or (wanted.host, wanted.port) != (there.host, there.port):
        maintenance = [] if there.in_maintenance else [f"set server {path} state maint"]
        return [*maintenance, f"del server {path}"], True
    if wanted.draining:
        return ([] if there.draining else [f"set server {path} state drain"]), True
    steps = _up(path, grpc) if there.in_maintenance or there.draining else []
    if abs(wanted.weight - there.weight) > TOLERANCE:
        steps.append(f"set server {path} weight {wanted.weight}")
    return steps, False


def _add(path: str, server: Server, grpc: bool) -> list[str]:
    return [f"add server {path} {server_words(server, grpc)}"]


def _up(path: str, grpc: bool) -> list[str]:
    """A server that was added over the socket is in maintenance, and is not looked at yet."""
    return [*([] if grpc else [f"enable health {path}"]), f"set server {path} state ready"]


def _map(path: Path, wanted: Mapping[str, str], there: Mapping[str, str]) -> Iterable[str]:
    for key in sorted(wanted):
        if key not in there:
            yield f"add map {path} {escaped(key)} {escaped(wanted[key])}"
        elif there[key] != wanted[key]:
            yield f"set map {path} {escaped(key)} {escaped(wanted[key])}"
    for key in sorted(there.keys() - wanted.keys()):
        yield f"del map {path} {escaped(key)}"
