"""Blocks of ports: nobody gets one that somebody has."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.errors import NodeFailure
from matrix_slurm_bridge.node.ports import BLOCK, USES, claim_block, is_free

FIRST = 32_000 + os.getpid() % 6 * 128
RANGE = range(FIRST, FIRST + 128)
"""Below the ports that Linux gives, above those of labs and sites; other than those of the same tests beside these."""


def test_two_programs_of_one_node_get_two_blocks_though_they_begin_at_the_same_one() -> None:
    first, second = claim_block("same", RANGE), claim_block("same", RANGE)
    try:
        assert not set(first.ports.values()) & set(second.ports.values())
    finally:
        first.close()
        second.close()


def test_a_block_is_free_again_when_its_program_has_ended() -> None:
    first = claim_block("same", RANGE)
    first.close()
    again = claim_block("same", RANGE)
    again.close()
    assert again.ports == first.ports


def test_a_stranger_on_one_port_of_a_block_spoils_all_of_it() -> None:
    first = claim_block("same", RANGE)
    first.close()
    with closing(socket.create_server(("127.0.0.1", first.ports["gateway"]))):
        other = claim_block("same", RANGE)
        other.close()
    assert other.ports["gcs"] != first.ports["gcs"]


def test_what_a_stranger_takes_later_is_seen() -> None:
    block = claim_block("same", RANGE)
    try:
        assert block.taken_by_others() == []
        with closing(socket.create_server(("", block.ports["dashboard"]))):
            assert block.taken_by_others() == [block.ports["dashboard"]]
    finally:
        block.close()


def test_blocks_lie_inside_of_the_range_and_never_overlap_in_part() -> None:
    """Another site's file may allow another range of the same node."""
    for allowed in (range(FIRST + 1, FIRST + 100), range(FIRST + 10, FIRST + 50)):
        block = claim_block("x", allowed, free=lambda _: True)
        block.close()
        assert block.ports["claim"] % BLOCK == 0
        assert set(block.ports.values()) <= set(allowed) and len(set(block.ports.values())) == len(USES) <= BLOCK


@pytest.mark.parametrize(("allowed", "free"), [(RANGE, False), (range(FIRST + 1, FIRST + 10), True), (range(0), True)])
def test_none_free_is_said_with_what_to_do(allowed: range, free: bool) -> None:
    with pytest.raises(NodeFailure, match="portRange") as caught:
        claim_block("x", allowed, free=lambda _: free)
    assert caught.value.reason is ClusterReason.PORT_TAKEN


def test_a_listener_on_any_address_makes_a_port_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert not is_free(server.getsockname()[1])
