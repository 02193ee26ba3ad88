"""Loopback: names, ports, and proxies that would stand in the way."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from matrix_cli.doctor.findings import Finding, ok, problem, warning
from matrix_cli.proxies import LOOPBACK, around_it, proxy_in_the_way

LISTENING = "0A"
"""The state in /proc/net/tcp (include/net/tcp_states.h)."""
FEW_PORTS = 200


def look(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Raises ImportError where the extra `operator` is not installed."""
    from matrix_operator.backends.local.ports import PORT_RANGE

    yield judge_localhost(_addresses)
    yield _loopback()
    text = "".join(_read(Path(f"/proc/net/{name}")) for name in ("tcp", "tcp6"))
    yield judge_ports(PORT_RANGE, listening(text), _read(Path("/proc/sys/net/ipv4/ip_local_port_range")))
    yield judge_proxy(environ)


def _addresses() -> set[str]:
    return {str(entry[4][0]) for entry in socket.getaddrinfo("localhost", None, socket.AF_INET)}


def judge_localhost(addresses: Callable[[], set[str]]) -> Finding:
    advice = f"put the line `{LOOPBACK} localhost` into /etc/hosts"
    try:
        found = addresses()
    except OSError as error:
        return problem("localhost", f"the name has no address: {error}", advice)
    if found != {LOOPBACK}:
        return problem("localhost", f"the name leads to {', '.join(sorted(found))}", advice)
    return ok("localhost", LOOPBACK)


def _loopback() -> Finding:
    """A connection to oneself: some containers and firewalls refuse it."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server, socket.create_connection(server.getsockname(), timeout=1):
            return ok("loopback", "connections work")
    except OSError as error:
        return problem(
            "loopback", f"a connection to {LOOPBACK} fails: {error}", "bring the interface up (`ip link set lo up`), or allow it"
        )


def listening(text: str) -> set[int]:
    """The ports of the sockets that listen, out of /proc/net/tcp and tcp6 (proc(5))."""
    return {int(port, 16) for port, state in re.findall(r"^\s*\d+: \w+:(\w+) \w+:\w+ (\w+)", text, re.MULTILINE) if state == LISTENING}


def judge_ports(wanted: range, taken: set[int], outgoing: str) -> Finding:
    """`outgoing` is the text of ip_local_port_range: ports from which the kernel takes those of connections."""
    free = len(wanted) - len(taken & set(wanted))
    fact = f"{free} of {len(wanted)} free between {wanted.start} and {wanted.stop - 1}"
    if free < FEW_PORTS:
        return problem("ports", fact, "end what holds them (`ss -tlnp` shows it)")
    low = int(outgoing.split()[0]) if outgoing.split() else wanted.stop
    if low < wanted.stop:
        advice = f"the kernel may give a cluster's port away while it restarts: sysctl net.ipv4.ip_local_port_range='{wanted.stop} 60999'"
        return warning("ports", f"{fact}; outgoing connections use {low} and up", advice)
    return ok("ports", fact)


def judge_proxy(environ: Mapping[str, str]) -> Finding:
    name = proxy_in_the_way(environ)
    if name:
        return warning("proxy", f"{name} is set, and no_proxy does not name {LOOPBACK}", f"export no_proxy={around_it(environ)}")
    return ok("proxy", "none in the way")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
