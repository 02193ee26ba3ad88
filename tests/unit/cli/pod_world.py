"""Pods whose logs are looked at, and what that prints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from matrix_cli.pod_logs import Look, PodLogs
from matrix_cli.pod_sources import DIRECTORY
from matrix_client.kubernetes_context import KubernetesContext
from matrix_crds.keys import ObjectKey
from matrix_store.kubernetes.api import Api
from matrix_store.port import StoredObject
from tests.fakes.pods import FakePods, serving
from tests.waiting import until

SECONDS = 20.0
LAB = ObjectKey("MatrixCluster", "team", "lab")
CHAT = ObjectKey("ModelDeployment", "team", "chat")
REPLICA = "serve/replica_mx-md-chat_Replica_abc.log"
WAITS = (400, 'container "ray-worker" in pod "lab-w-1" is waiting to start: ContainerCreating')
NO_ROUTE = (502, "dial tcp 10.0.0.7:10250: no route to host")

Capture = pytest.CaptureFixture[str]


def forbidden(pod: str) -> tuple[int, str]:
    """As an API server says it."""
    return 403, f'pods "{pod}" is forbidden'


def with_pods(directory: Path, work: Callable[[FakePods], Coroutine[Any, Any, None]]) -> None:
    async def session() -> None:
        async with asyncio.timeout(SECONDS), serving(directory, DIRECTORY) as pods:
            await work(pods)

    asyncio.run(session())


def logs_of(pods: FakePods, subject: ObjectKey = LAB, *, lines: int = 100, previous: bool = False) -> PodLogs:
    context = SimpleNamespace(connection=pods.connection, api=Api(pods.connection))
    cluster = SimpleNamespace(key=LAB, uid="u")
    return PodLogs(cast(KubernetesContext, context), cast(StoredObject, cluster), subject, Look(lines, False, previous))


class Screen:
    """What was printed since the beginning."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._out = self._err = ""

    @property
    def lines(self) -> list[str]:
        self._read()
        return self._out.splitlines()

    @property
    def notes(self) -> list[str]:
        self._read()
        return self._err.splitlines()

    async def until(self, *lines: str) -> None:
        """These have come."""
        await until(lambda: set(lines) <= {*self.lines, *self.notes})

    def _read(self) -> None:
        read = self._capture.readouterr()
        self._out, self._err = self._out + read.out, self._err + read.err
