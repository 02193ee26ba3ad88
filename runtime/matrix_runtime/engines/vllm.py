"""vLLM: its AsyncLLM and its own OpenAI app. Only vllm*.py beside it import vllm; import paths are those of 0.32."""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from starlette.types import ASGIApp
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.logger import configure_logging_from_args
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from matrix_crds.deployment import VllmEngine
from matrix_proto.state import Load
from matrix_runtime.engines.port import Api, Body, EngineSettings, ModelCard, Piece, TokenMeter, Vectors
from matrix_runtime.engines.vllm_arguments import may_fork, vllm_arguments
from matrix_runtime.engines.vllm_openai import VllmOpenAi
from matrix_runtime.engines.vllm_stats import VllmStats
from matrix_runtime.errors import BadArguments

STOP_SECONDS = 5.0
LOOK_SECONDS = 0.05
"""vLLM has no callback for the death of its engine core: a thread of its own sets a flag, which is cheap to read."""


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    """Raises where argparse would print its whole usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise BadArguments(f"vLLM refuses its arguments: {message}; see spec.engine.vllm")


class VllmAdapter:
    """The port `Engine` for vLLM."""

    def __init__(self, engine: VllmEngine, settings: EngineSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._llm: Any = None
        self._app: Any = None
        self._openai: VllmOpenAi
        self._stats: VllmStats

    def prepare(self) -> None:
        """Lets vLLM's own parser and checks judge the arguments; the model is not looked at."""
        self._parse(self._settings.source)

    async def load(self, model: Path | None, meter: TokenMeter) -> None:
        """Starts the engine core, which loads the model, and builds the app."""
        args = self._parse(str(model))
        configure_logging_from_args(args)
        engine_args = AsyncEngineArgs.from_cli_args(args)
        config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        if may_fork(self._engine, self._settings.resources):
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"  # making the config has set it to spawn
        self._stats = VllmStats(meter)
        self._llm = AsyncLLM.from_vllm_config(
            config,
            usage_context=UsageContext.OPENAI_API_SERVER,
            disable_log_stats=engine_args.disable_log_stats,
            stat_loggers=[self._stats.logger],
        )
        tasks = await self._llm.get_supported_tasks()
        self._app = build_app(args, tasks, self._llm.model_config)
        await init_app_state(self._llm, self._app.state, args, tasks)
        # vLLM's handler of a dead engine sets `should_exit` on its own server; ours ends by `failed`.
        self._app.state.server = SimpleNamespace()
        self._openai = VllmOpenAi(self._app.state)

    def app(self) -> ASGIApp:
        """vLLM's own FastAPI app."""
        app: ASGIApp = self._app
        return app

    async def whole(self, api: Api, body: Body) -> Piece:
        """See the port."""
        return await self._openai.whole(api, body)

    def stream(self, api: Api, body: Body) -> AsyncGenerator[Piece]:
        """See the port."""
        return self._openai.stream(api, body)

    async def embed(self, body: Body) -> Vectors:
        """See the port."""
        return await self._openai.embed(body)

    def models(self) -> Sequence[ModelCard]:
        """See the port."""
        return self._openai.models()

    def busy(self) -> Load:
        """See the port."""
        return self._stats.busy()

    async def failed(self) -> Exception:
        """vLLM's EngineDeadError, when the engine core is gone."""
        while not self._llm.errored:  # noqa: ASYNC110  # there is nothing to wait for
            await asyncio.sleep(LOOK_SECONDS)
        error: Exception = self._llm.dead_error
        return error

    async def stop(self) -> None:
        """Ends the engine core."""
        self._llm.shutdown(timeout=STOP_SECONDS)

    def _parse(self, model: str) -> Namespace:
        arguments = vllm_arguments(self._engine, self._settings.served_name, model, self._settings.resources)
        parsed: Namespace = make_arg_parser(_Parser()).parse_args(arguments)
        try:
            validate_parsed_serve_args(parsed)
        except (TypeError, ValueError) as error:
            raise BadArguments(f"vLLM refuses its arguments: {error}; see spec.engine.vllm") from error
        return parsed
