"""The Serve application mx-system: the directory and the gateway, pinned to the head, each a deployment of its own.

They open their own servers: Serve's proxies answer anyone, and stay off.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import ray
from ray import serve

from matrix_crds.base import LenientModel
from matrix_proto.state import State
from matrix_runtime.addresses import take_soon
from matrix_runtime.gateway.replica import GatewayReplica
from matrix_runtime.http_server import HttpServer, listen
from matrix_runtime.system.directory import Directory
from matrix_runtime.system.service import DirectoryService
from matrix_runtime.system.watch_server import WatchServer
from matrix_runtime.system.watchers import Watchers
from matrix_runtime.version import runtime_version

PORT_SECONDS = 20.0
HEAD_ONLY = {"node:__internal_head__": 0.001}


class SystemArguments(LenientModel):
    """What the control plane's Serve config says: where to listen, and where the tokens are."""

    bind_host: str
    state_port: int
    state_url: str
    directory_port: int
    gateway_port: int
    secrets_dir: str


class DirectoryReplica:
    """The deployment's one replica."""

    async def __init__(self, arguments: dict[str, Any], gateway: Any = None) -> None:  # type: ignore[misc]  # Ray awaits it
        """`gateway` is a handle that is not used: it makes the gateway a part of the application."""
        parsed = SystemArguments.model_validate(arguments)
        # Milliseconds: a revision of an earlier instance is never taken for one of this.
        directory, about = Directory(first_revision=time.time_ns() // 1_000_000), _about()
        service = DirectoryService(directory, about)
        secrets = Path(parsed.secrets_dir)
        listener = await take_soon(lambda: listen(parsed.bind_host, parsed.state_port), PORT_SECONDS)
        self._server = HttpServer(service.app(secrets), listener)
        await self._server.start()
        self._watch = WatchServer(Watchers(about.instance, directory.known, lambda: directory.revision), service.changed)
        await self._watch.start(parsed.bind_host, parsed.directory_port, secrets, PORT_SECONDS)
        self._tasks = [asyncio.create_task(work) for work in (service.sweep_forever(), self._watch.publish_forever())]

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve calls it with the user_config. There is an `attempt` in it, whose change makes Serve start what it had given up on."""

    def check_health(self) -> None:
        """Called by Serve each second; it starts another replica when this raises."""
        if any(task.done() for task in self._tasks) or not self._server.running:
            raise RuntimeError("the directory has stopped")


def _about() -> State:
    session = ray.get_runtime_context().get_session_name()
    return State(
        runtime_version=runtime_version(), ray_version=ray.__version__, session_name=session, instance=uuid.uuid4().hex, revision=0
    )


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application; see SystemArguments for `arguments`."""
    SystemArguments.model_validate(arguments)
    options: dict[str, Any] = {
        "num_replicas": 1,
        "ray_actor_options": {"num_cpus": 0, "resources": HEAD_ONLY},
        "health_check_period_s": 1.0,
        "health_check_timeout_s": 10.0,
        "graceful_shutdown_timeout_s": 5.0,
        "graceful_shutdown_wait_loop_s": 0.1,
    }
    gateway = serve.deployment(GatewayReplica, name="Gateway", **options)
    directory = serve.deployment(DirectoryReplica, name="Directory", **options)
    return directory.bind(arguments, gateway.bind(arguments))
