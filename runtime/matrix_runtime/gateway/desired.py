"""What HAProxy is to be: a pure function of settings, replicas, keys and token."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from matrix_client.directory_watch import KnownReplica
from matrix_crds.deployment import RoutingPolicy
from matrix_proto.keys import ApiKey, digest
from matrix_proto.state import ReplicaState
from matrix_runtime.addresses import host_port
from matrix_runtime.gateway.slots import GRPC_SUFFIX, PREFIXES
from matrix_runtime.gateway.weights import FULL_WEIGHT, weights

UPSTREAM = "client"
"""The one entry of the map `upstream`: the token that the replicas ask for."""


@dataclass(frozen=True)
class Server:
    """One replica in a backend."""

    host: str
    port: int
    weight: int = FULL_WEIGHT
    draining: bool = False

    @property
    def address(self) -> str:
        return host_port(self.host, self.port)


@dataclass(frozen=True)
class Desired:
    """Maps, and servers by backend and name."""

    maps: Mapping[str, Mapping[str, str]] = field(repr=False)
    servers: Mapping[str, Mapping[str, Server]]


MAPS = ("keys", "models", "upstream")


def desired(
    slots: Mapping[str, str],
    applications: Mapping[str, str],
    replicas: Iterable[KnownReplica],
    keys: Iterable[ApiKey],
    token: str,
    sessions: Mapping[str, int],
) -> Desired:
    """`slots`: served name -> backend; `applications`: backend -> application; `sessions`: server name -> requests through HAProxy now."""
    by_application: dict[str, list[KnownReplica]] = {}
    for replica in replicas:
        by_application.setdefault(replica.application, []).append(replica)
    names: dict[str, set[str]] = {}
    for name, slot in slots.items():
        names.setdefault(slot, set()).add(name)
    servers: dict[str, Mapping[str, Server]] = {}
    for slot, application in applications.items():
        servers |= _backends(slot, by_application.get(application, []), names.get(slot, set()), sessions)
    maps = {"keys": key_map(keys, token), "models": dict(slots), "upstream": {UPSTREAM: token} if token else {}}
    return Desired(maps, servers)


def key_map(keys: Iterable[ApiKey], token: str) -> dict[str, str]:
    """Digest -> id/requests per minute/expiry in seconds since 1970; 0 for none. The client token is the key of the cluster itself."""
    entries = {key.digest.upper(): f"{_plain(key.id)}/{key.requests_per_minute or 0}/{_seconds(key.expires)}" for key in keys}
    return entries | ({digest(token): "cluster/0/0"} if token else {})


def server_name(replica: KnownReplica, port: int) -> str:
    """Another address is another server."""
    return f"{_plain(replica.id)}-{port}"


def answers_to(model: str, names: Collection[str]) -> bool:
    """Whether a replica that serves `model` is one for these served names of its application. After a change of the name the former
    replicas are there for a while: to what is asked under the new one they would answer that they don't know it."""
    return not names or model in names


def _backends(
    slot: str, replicas: list[KnownReplica], names: Collection[str], sessions: Mapping[str, int]
) -> dict[str, Mapping[str, Server]]:
    live = [r for r in replicas if r.state in (ReplicaState.READY, ReplicaState.DRAINING) and r.http_url]
    ending = {r.id for r in live if r.state is ReplicaState.DRAINING or not answers_to(r.model, names)}
    sound = any(r.id not in ending and not r.suspect for r in live)
    out = ending | {r.id for r in live if r.suspect and sound}
    share = _weights(slot, [r for r in live if r.id not in out], sessions)
    backends: dict[str, dict[str, Server]] = {slot: {}, slot + GRPC_SUFFIX: {}}
    for replica in live:
        for backend, address in ((slot, http_address(replica)), (slot + GRPC_SUFFIX, _split(replica.grpc_address))):
            if address:
                server = Server(*address, weight=share.get(replica.id, FULL_WEIGHT), draining=replica.id in out)
                backends[backend][server_name(replica, server.port)] = server
    return dict(backends)


def _weights(slot: str, replicas: list[KnownReplica], sessions: Mapping[str, int]) -> dict[str, int]:
    """Only where the fewest connections decide: other weights would move prefixes from one replica to another."""
    if slot.rpartition("-")[0] != PREFIXES[RoutingPolicy.LEAST_LOADED]:
        return {}
    loads = {replica.id: (_own(replica, sessions), replica.load.ongoing) for replica in replicas}
    return weights(loads)


def _own(replica: KnownReplica, sessions: Mapping[str, int]) -> int:
    addresses = (http_address(replica), _split(replica.grpc_address))
    return sum(sessions.get(server_name(replica, address[1]), 0) for address in addresses if address)


def http_address(replica: KnownReplica) -> tuple[str, int] | None:
    """Host and port of its HTTP app."""
    return _split(urlsplit(replica.http_url).netloc)


def _split(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) or "_"


def _seconds(moment: datetime | None) -> int:
    return max(1, int(moment.timestamp())) if moment else 0
