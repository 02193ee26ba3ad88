"""Loopback ports: chosen once for a cluster, recorded, and the same for ever after, so that what is started again is found."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import psutil

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.journal import Ports
from matrix_operator.backends.port import BackendRefusal

LOOPBACK = "127.0.0.1"
PORT_RANGE = range(20_000, 32_000)
"""From which ports are chosen: below the range that Linux takes outgoing connections' ports from (32768 and up)."""


def choose_ports(uid: str, reserved: Iterable[int], free: Callable[[int], bool]) -> Ports:
    """Ports that are neither reserved by another cluster nor in use. Which ones depends on the uid, so that clusters that
    start at the same moment don't try the same. Raises BackendRefusal."""
    taken = set(reserved)
    fit = (port for port in _candidates(uid) if port not in taken and free(port))
    chosen = [port for port, _ in zip(fit, Ports.model_fields, strict=False)]
    if len(chosen) < len(Ports.model_fields):
        message = (
            f"no free port on {LOOPBACK} between {PORT_RANGE.start} and {PORT_RANGE.stop - 1}; end what holds them (ss -tlnp shows it)"
        )
        raise BackendRefusal(ClusterReason.PORT_TAKEN, message)
    return Ports.model_validate(dict(zip(Ports.model_fields, chosen, strict=True)))


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Ray does: a connection's end in TIME_WAIT is no hindrance
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(port: int, use: str) -> None:
    """Raises BackendRefusal, naming who holds the port."""
    if is_free(port):
        return
    fact = f"port {port}, which this cluster uses for its {use}, is held by {_holder(port)}"
    raise BackendRefusal(ClusterReason.PORT_TAKEN, f"{fact}; end that, or delete the cluster and apply it again")


def _candidates(uid: str) -> Iterator[int]:
    start = int(hashlib.sha256(uid.encode()).hexdigest(), 16) % len(PORT_RANGE)
    return (PORT_RANGE[(start + step) % len(PORT_RANGE)] for step in range(len(PORT_RANGE)))


def _holder(port: int) -> str:
    """The process that listens there, as far as this user may see it."""
    try:
        pids = {c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN}
        pid = next(pid for pid in pids if pid is not None)
        return f"pid {pid} ({' '.join(psutil.Process(pid).cmdline())[:100]})"
    except (psutil.Error, StopIteration):
        return "a process of another user"
