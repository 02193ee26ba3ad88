"""What the hub is told at its start: where it listens, its certificate, and the sites that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ANY_NAMESPACE = "*"


@dataclass(frozen=True)
class SiteSettings:
    """One site."""

    token_sha256: str
    """The SHA-256 of its token, in lower-case hexadecimal: the token itself is known to the site alone."""
    namespaces: frozenset[str]
    """Whose clusters may run there; ANY_NAMESPACE stands for all."""

    def allows(self, namespace: str) -> bool:
        return namespace in self.namespaces or ANY_NAMESPACE in self.namespaces


@dataclass(frozen=True)
class Limits:
    """What strangers, and sites that went wrong, can take up at most."""

    connections: int = 256
    """Of TCP, from all sites and strangers together. A bridge has two."""
    handshake_seconds: float = 10.0
    """For TLS; then a connection that says nothing is closed."""
    idle_seconds: float = 300.0
    """A connection without a call is closed then. A bridge's second one has none while nobody uses its clusters."""
    hello_seconds: float = 10.0
    """For a call to say what it is for."""
    send_seconds: float = 30.0
    """A bridge that takes nothing for so long is dropped."""
    report_seconds: float = 30.0
    """A bridge that reports nothing for so long is silent: another one may take its place."""
    keepalive_seconds: float = 10.0
    """Between pings, and for their answer: a network that was cut is noticed within twice that."""
    message_bytes: int = 4 * 1024**2
    """The largest message: a report of a site."""
    clusters: int = 1000
    """In a report."""
    tunnels: int = 1024
    """Of one site at once."""
    tunnel_seconds: float = 15.0
    """For a site to answer that a tunnel is to be opened."""
    tunnel_idle_seconds: float = 3600.0
    """A tunnel through which nothing has come for so long is closed."""


@dataclass(frozen=True)
class HubSettings:
    """One hub."""

    certificate: Path
    """PEM, with the chain that a site needs. Read again when it changes, as is the key."""
    key: Path
    sites: Mapping[str, SiteSettings]
    """By name."""
    bind_address: str = "127.0.0.1"
    port: int = 8443
    """0 for any."""
    tunnel_address: str = "127.0.0.1"
    """Where the ends of tunnels listen: loopback, or everywhere in a pod. Behind each is a server that asks for a token."""
    limits: Limits = Limits()
