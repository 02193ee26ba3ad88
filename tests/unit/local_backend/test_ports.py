from __future__ import annotations

import os
import socket

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.ports import LOOPBACK, choose_ports, is_free, require_free
from matrix_operator.backends.port import BackendRefusal


def test_ports_are_three_and_follow_from_the_uid() -> None:
    ports = choose_ports("a", [], lambda _: True)
    assert len(set(ports.model_dump().values())) == 5
    assert choose_ports("a", [], lambda _: True) == ports != choose_ports("b", [], lambda _: True)


def test_reserved_and_busy_ports_are_not_chosen() -> None:
    first = choose_ports("a", [], lambda _: True)
    second = choose_ports("a", [first.gcs, first.state], lambda port: port != first.dashboard)
    assert not {first.gcs, first.dashboard, first.state} & {second.gcs, second.dashboard, second.state}


def test_ports_are_below_those_of_outgoing_connections() -> None:
    assert all(20_000 <= port < 32_000 for uid in "abcdefgh" for port in choose_ports(uid, [], lambda _: True).model_dump().values())


def test_no_free_port_is_refused() -> None:
    with pytest.raises(BackendRefusal, match="no free port") as refused:
        choose_ports("a", [], lambda _: False)
    assert refused.value.reason is ClusterReason.PORT_TAKEN


def test_a_taken_port_is_refused_with_its_holder_and_what_to_do() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(BackendRefusal) as refused:
            require_free(port, "dashboard")
    assert refused.value.reason is ClusterReason.PORT_TAKEN
    for part in (f"port {port}", "dashboard", f"pid {os.getpid()} (", "end that"):
        assert part in refused.value.message
    require_free(port, "dashboard")


def test_a_port_that_is_taken_on_all_interfaces_is_not_free() -> None:
    with socket.create_server(("", 0)) as server:
        assert not is_free(server.getsockname()[1])
