"""A block of ports on this node. Several clusters, of several users, may look for one at the same moment.

A block is claimed by listening on its first port, on loopback: the kernel gives that to one process of the node, whoever asks. The others
are tried before; what a stranger takes in the meantime shows when a server of Ray's can't bind, and then the next block is taken.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.errors import NodeFailure

USES = (
    "claim",
    "gcs",
    "dashboard",
    "state",
    "directory",
    "gateway",
    "object-manager",
    "node-manager",
    "agent-http",
    "agent-grpc",
    "runtime-env-agent",
    "metrics",
)
BLOCK = 16
"""Blocks begin at multiples of it, whatever range a site allows: so no two overlap in part."""

Free = Callable[[int], bool]


@dataclass
class Block:
    """Claimed until it is closed, or this process ends."""

    ports: Mapping[str, int]
    """By use."""
    claim: socket.socket

    def taken_by_others(self, free: Free | None = None) -> list[int]:
        """Those where somebody listens, when nothing of ours does."""
        return [port for use, port in self.ports.items() if use != "claim" and not (free or is_free)(port)]

    def close(self) -> None:
        self.claim.close()


def claim_block(seed: str, allowed: range, free: Free | None = None, passed: frozenset[int] = frozenset()) -> Block:
    """The first block that is free, from a start that depends on `seed`, without those whose first port is in `passed`. Raises
    NodeFailure."""
    for first in _candidates(seed, allowed):
        if first in passed:
            continue
        ports = {use: first + offset for offset, use in enumerate(USES)}
        claim = _listen(ports["claim"])
        if claim is None:
            continue
        block = Block(ports, claim)
        if not block.taken_by_others(free):
            return block
        block.close()
    fact = f"no block of {BLOCK} free ports between {allowed.start} and {allowed.stop - 1} on this node"
    raise NodeFailure(f"{fact}; end what holds them (ss -tlnp shows it), or widen portRange in the site's file", ClusterReason.PORT_TAKEN)


def is_free(port: int) -> bool:
    """Whether a server could listen there now, on any address of the node."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Ray does: a connection's end in TIME_WAIT is no hindrance
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _listen(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.bind(("127.0.0.1", port))
        claim.listen(1)
    except OSError:
        claim.close()
        return None
    return claim


def _candidates(seed: str, allowed: range) -> Iterator[int]:
    first = -(-allowed.start // BLOCK) * BLOCK
    blocks = range(first, allowed.stop - BLOCK + 1, BLOCK)
    if not blocks:
        return
    start = int(hashlib.sha256(seed.encode()).hexdigest(), 16) % len(blocks)
    yield from (blocks[(start + step) % len(blocks)] for step in range(len(blocks)))
