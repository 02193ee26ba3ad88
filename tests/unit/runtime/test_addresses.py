from __future__ import annotations

import socket

import pytest

from matrix_runtime.addresses import announced, from_here, host_port, listening
from matrix_runtime.http_server import listen


def node_address() -> str:
    return "10.1.2.3"


def test_what_listens_at_one_address_is_announced_as_that() -> None:
    assert (listening("127.0.0.1"), announced("127.0.0.1", node_address), from_here("127.0.0.1")) == ("127.0.0.1",) * 3


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_what_listens_everywhere_is_announced_as_the_nodes_own_address(everywhere: str) -> None:
    assert announced(everywhere, node_address) == "10.1.2.3"
    assert host_port(announced(everywhere, lambda: "fd00::3"), 80) == "[fd00::3]:80"
    assert from_here(everywhere) == "127.0.0.1"


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_everywhere_is_both_families(everywhere: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this kernel has no IPv6")
    with listen(everywhere, 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=5).close()
