"""The replica: a light Ray Serve actor that looks after an engine host, and tells the directory about it.

Serve gives placement, restart, rolling update and scaling; the requests go straight to the host's own port.
"""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve

from matrix_proto.state import HEARTBEAT_SECONDS, Replica, ReplicaState, StartFailure, StartPhase
from matrix_runtime.addresses import announced
from matrix_runtime.engines.port import EngineSettings
from matrix_runtime.engines.select import environment, needs_model
from matrix_runtime.errors import StartFailed
from matrix_runtime.serving.arguments import ReplicaArguments
from matrix_runtime.serving.bring_up import bring_up
from matrix_runtime.serving.channel import Busy, HostSpec, Ready
from matrix_runtime.serving.failures import classify
from matrix_runtime.serving.host_process import HostProcess
from matrix_runtime.serving.reporter import Reporter, http_post
from matrix_runtime.serving.settings import ReplicaSettings
from matrix_runtime.sources.credentials import Credentials
from matrix_runtime.sources.port import Report
from matrix_runtime.sources.resolve import resolve
from matrix_runtime.tokens import CLIENT_TOKEN, RAY_TOKEN, TokenFile

STOP_SECONDS = 8.0
"""For the engine to end, after the requests in flight have."""

logger = logging.getLogger("ray.serve")


class ModelReplica:
    """One replica of a ModelDeployment. Its methods are those that Serve calls."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        self._host: HostProcess | None = None
        self._stopping = False
        self._arguments = ReplicaArguments.model_validate(arguments)
        self._settings = _settings(_user_config())
        token = TokenFile(Path(self._arguments.secrets_dir) / RAY_TOKEN)
        self._reporter = Reporter(self._first_report(), http_post(self._arguments.state_url, token))
        self._reporter.start()
        try:
            ready = await self._start()
        except BaseException as error:
            failure = self._in_plain_words(error)
            if not self._stopping:
                await asyncio.to_thread(self._reporter.failed, failure.record())
            if self._host is not None:
                await self._host.kill()
            raise failure from None
        where = {"http_url": ready.url, "grpc_address": ready.grpc_address}
        self._reporter.update(state=ReplicaState.READY, phase=None, progress=None, message="", **where)
        self._watching = asyncio.create_task(self._watch(self._host_or_fail()))

    def reconfigure(self, user_config: Any) -> None:
        """Never raises: Serve would kill a replica that runs."""
        self._settings = _settings(user_config)
        self._reporter.update(attempt=self._settings.attempt)

    def check_health(self) -> None:
        """Raises when the engine is gone."""
        if self._host is None or not self._host.running:
            raise RuntimeError("the engine has ended")

    async def __del__(self) -> None:
        """Serve's one hook for a graceful end, on the live loop: leave the directory, go on accepting until readers have seen it, then
        finish what is in flight."""
        self._stopping = True
        if self._host is None:
            return
        if self._reporter.replica.state is ReplicaState.READY:
            self._reporter.update(state=ReplicaState.DRAINING, message="finishing the requests in flight")
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._host.stop(self._settings.drain_seconds, STOP_SECONDS)
        else:
            await self._host.kill()
        self._reporter.stop()

    async def _start(self) -> Ready:
        spec = HostSpec(
            settings=EngineSettings.model_validate(dict(self._arguments)),
            bind_host=self._arguments.bind_host,
            announced_host=announced(self._arguments.bind_host, ray.util.get_node_ip_address),
            token_file=str(Path(self._arguments.secrets_dir) / CLIENT_TOKEN),
        )
        self._host = await HostProcess.start(spec, environment(spec.settings))
        return await bring_up(self._host, self._resolve, self._reporter.starting)

    async def _resolve(self, report: Report) -> Path | None:
        if not needs_model(self._arguments.engine):
            return None
        own = self._arguments
        credentials = Credentials(Path(own.credentials_dir) if own.credentials_dir else None)
        return await resolve(own.source, Path(own.model_cache_dir), report, environment(own), credentials)

    async def _watch(self, host: HostProcess) -> None:
        """Until the engine ends; then this process ends as well, at once, so that Serve starts another."""
        try:
            while True:
                event = await host.next_event()
                if isinstance(event, Busy):
                    self._reporter.update(load=event.load)
        except StartFailed as failure:
            if self._stopping:
                return
            logger.error("the engine ended while serving: %s", failure)
            record = failure.record()
            message = f"the engine ended while serving: {record.message}"
            await asyncio.to_thread(self._reporter.failed, StartFailure(reason=record.reason, message=message, lines=record.lines))
            os._exit(1)

    def _host_or_fail(self) -> HostProcess:
        if self._host is None:
            raise RuntimeError("the engine host was not started")
        return self._host

    def _in_plain_words(self, error: BaseException) -> StartFailed:
        if isinstance(error, StartFailed):
            return error
        logger.error("the start failed", exc_info=error)
        return classify(f"{type(error).__name__}: {error}", ())

    def _first_report(self) -> Replica:
        context = serve.get_replica_context()
        return Replica(
            id=context.replica_tag,
            application=context.app_name,
            model=self._arguments.served_name,
            version=self._arguments.version,
            attempt=self._settings.attempt,
            state=ReplicaState.STARTING,
            phase=StartPhase.PREPARING,
            message="starting",
            since=datetime.now(UTC),
            pid=os.getpid(),
        )


def _user_config() -> Any:
    """Serve hands it to `reconfigure` only after the start, but the attempt is needed from the first report on; ray 2.60 keeps it in
    the replica's context."""
    return serve.get_replica_context()._deployment_config.user_config


def _settings(user_config: Any) -> ReplicaSettings:
    try:
        return ReplicaSettings.model_validate(user_config or {})
    except ValidationError as error:
        logger.error("user_config is ignored: %s", error)
        return ReplicaSettings()
