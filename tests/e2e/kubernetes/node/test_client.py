"""What a user does from outside of a cluster whose pods run, through its API server alone."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.e2e.kubernetes.node.world import CLUSTER, MODEL, SECONDS, World

pytestmark = pytest.mark.timeout(2 * SECONDS)
QUESTION: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _ready_before(world: World) -> None:
    world.ready()


def run(world: World, *arguments: str) -> str:
    process = world.matrix(*arguments)
    printed, complaints = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, complaints
    return printed


@contextmanager
def forwarded(world: World) -> Iterator[str]:
    """The address that `matrix port-forward` prints, while it runs."""
    process = world.matrix("port-forward", MODEL, "0:openai")
    try:
        assert process.stdout is not None and select.select([process.stdout], [], [], SECONDS)[0]
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def client(world: World, url: str, key: str = "") -> openai.OpenAI:
    token = key or json.loads(run(world, "env", MODEL, "-o", "json"))["OPENAI_API_KEY"]
    return openai.OpenAI(base_url=url, api_key=token, max_retries=0, timeout=SECONDS)


def test_openai_s_client_streams_through_a_forwarded_port_also_after_the_head_was_replaced(world: World) -> None:
    def words() -> int:
        stream = asker.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=20, stream=True, extra_body={"ignore_eos": True})
        return sum(1 for piece in stream if piece.choices and piece.choices[0].delta.content)

    with forwarded(world) as url:
        asker = client(world, url)
        assert words() == 20
        head = world.pod("head")
        world.delete_pod(head)
        world.wait(lambda: world.condition("MatrixCluster", CLUSTER).get("status") != "True", "the head's end is noticed")
        world.ready()
        assert world.pod("head") != head
        until = time.monotonic() + SECONDS
        while True:  # the gateway learns of the replicas a moment after the cluster is Ready
            try:
                assert words() == 20
                return
            except openai.APIError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)


def test_an_issued_key_opens_the_gateway_and_a_revoked_one_does_not(world: World) -> None:
    def opens() -> bool:
        try:
            client(world, url, issued["key"]).models.list()
        except openai.AuthenticationError:
            return False
        return True

    with forwarded(world) as url:
        issued = json.loads(run(world, "keys", "issue", "--name", "ann", "-o", "json"))
        world.wait(opens, "the key opens", 180.0)
        run(world, "keys", "revoke", issued["id"])
        world.wait(lambda: not opens(), "the key opens nothing any more", 180.0)


def test_the_logs_of_a_model_and_of_a_cluster_are_there(world: World) -> None:
    assert "Finished initializing replica" in run(world, "logs", f"mxd/{MODEL}")
    listed = run(world, "logs", "--list", f"mxc/{CLUSTER}")
    assert "container ray-head" in listed and "container ray-worker" in listed and "gcs_server.out" in listed
    assert "HAProxy" in run(world, "logs", f"mxc/{CLUSTER}", "-c", "Gateway")


def test_followed_logs_leave_nothing_behind_in_the_pod(world: World) -> None:
    process = world.matrix("logs", "-f", f"mxd/{MODEL}")
    worker = world.pod("worker")

    def tails() -> list[str]:
        return [line for line in world.exec(worker, "ps", "-eo", "args=") if line.startswith("tail ")]

    try:
        assert process.stdout is not None and select.select([process.stdout], [], [], SECONDS)[0]
        assert tails()
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
    world.wait(lambda: not tails(), "no tail is left in the pod")
