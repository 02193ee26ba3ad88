"""Under which address the other nodes and the login node reach this one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import closing
from ipaddress import ip_address

_ANY_PORT = 9


def address_towards(host: str) -> str | None:
    """The address that this node has in the eyes of `host`: that of the way there. No packet is sent. None if there is no way."""
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            probe.connect((host, _ANY_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def own_address(environ: Mapping[str, str]) -> str:
    """Of the head: the one on the way to the login node that the job came from, else that of the node's name, else loopback (a site of
    one machine)."""
    for host in (environ.get("SLURM_SUBMIT_HOST"), environ.get("SLURMD_NODENAME"), socket.gethostname()):
        found = (address_towards(host), _resolved(host)) if host else ()
        for address in found:
            if address and not ip_address(address).is_loopback:
                return address
    return "127.0.0.1"


def is_own(address: str) -> bool:
    """Whether a server could listen there on this node."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def answers(address: str, port: int, seconds: float) -> bool:
    """Whether somebody accepts a connection there within so long."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def answers_http(address: str, port: int, seconds: float) -> bool:
    """Whether an HTTP server answers there, whatever it says: without a token it says no."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(b"GET /api/version HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def _resolved(host: str) -> str | None:
    try:
        found = socket.gethostbyname(host)
    except OSError:
        return None
    return found if is_own(found) else None
