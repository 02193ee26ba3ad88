"""A port for the API server."""

from __future__ import annotations

import random
import socket
from contextlib import closing

from tests.lab.commands import LOOPBACK
from tests.lab.errors import LabError

_PORTS = range(20_000, 32_000)
"""Below the range that Linux takes outgoing connections' ports from: while the API server is down nobody gets its port by chance."""
_TRIES = 100


def free_port() -> int:
    """One on loopback that nothing listens at now. Raises LabError."""
    for port in random.sample(_PORTS, _TRIES):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API server does: TIME_WAIT is no hindrance
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise LabError(f"{_TRIES} ports from {_PORTS.start} to {_PORTS.stop - 1} on {LOOPBACK} were tried, and none is free")
