"""A forwarded connection whose credentials fail: it is told, and what comes is not taken for a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from matrix_client import forwarding
from matrix_client.forwarding import Forwarding
from matrix_store.errors import NotFound
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.services import Behind

SECONDS = 20.0
Find = Callable[[Forwarding], Awaitable[Behind]]


def kubeconfig(directory: Path) -> Path:
    """Its plugin notes that it was run, and fails."""
    plugin = directory / "login"
    plugin.write_text(f"#!/bin/sh\necho run >> {directory}/runs\necho the session has expired >&2\nexit 1\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"}}
    path = directory / "config"
    path.write_text(yaml.safe_dump({
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "me", "user": user}],
    }))  # fmt: skip
    return path


def forwarded(directory: Path, monkeypatch: pytest.MonkeyPatch, find: Find) -> list[str]:
    """One connection, which must be reset; what was told. `find` finds the pod."""
    monkeypatch.setattr(Forwarding, "find", find)
    told: list[str] = []

    async def scenario() -> None:
        connection = connect(kubeconfig=kubeconfig(directory))
        opened = await Forwarding.open(connection, "team", "gateway", 8000, told=told.append)
        host, _, port = opened.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await opened.close()
        await connection.http.aclose()

    asyncio.run(asyncio.wait_for(scenario(), SECONDS))
    return told


async def pod(_: Forwarding) -> Behind:
    """It was found while the credentials were good."""
    return Behind("pod-1", 8000)


@pytest.mark.parametrize("find", [pod, Forwarding.find], ids=["to the pod", "to the Service"])
def test_a_plugin_that_fails_is_told_and_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[[Forwarding], Awaitable[Behind]]
) -> None:
    (told,) = forwarded(tmp_path, monkeypatch, find)
    assert "login failed with exit code 1: the session has expired" in told
    assert (tmp_path / "runs").read_text() == "run\n"


def test_whatever_else_breaks_on_the_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Forwarding) -> Behind:
        raise OSError("too many open files")

    assert forwarded(tmp_path, monkeypatch, broken) == ["too many open files"]


def test_a_pod_that_is_not_there_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "PAUSE_SECONDS", 0.01)
    tries: list[int] = []

    async def late(_: Forwarding) -> Behind:
        tries.append(1)
        if len(tries) < 3:
            raise NotFound("not yet")
        return Behind("pod-1", 8000)

    assert "the session has expired" in forwarded(tmp_path, monkeypatch, late)[0]
    assert len(tries) == 3
