"""The bare replica of the start-up bench: vLLM's AsyncLLM and its own OpenAI app in a Serve deployment, and nothing else."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from ray import serve

ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@serve.deployment(ray_actor_options={"num_cpus": 1})
class BareReplica:
    async def __init__(self, arguments: list[str], port: int) -> None:
        os.environ.update(ENVIRONMENT)
        import uvicorn
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.usage.usage_lib import UsageContext
        from vllm.utils.argparse_utils import FlexibleArgumentParser
        from vllm.v1.engine.async_llm import AsyncLLM

        args = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        self.engine = AsyncLLM.from_vllm_config(config, usage_context=UsageContext.OPENAI_API_SERVER)
        tasks = await self.engine.get_supported_tasks()
        app = build_app(args, tasks, self.engine.model_config)
        await init_app_state(self.engine, app.state, args, tasks)
        app.state.server = SimpleNamespace()
        listener = socket.create_server(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        import asyncio

        self.serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def __call__(self, request: Any) -> str:
        return "use the port"


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Nothing:
    """The smallest application: what it costs to have Serve at all."""

    async def __call__(self, request: Any) -> str:
        return "nothing"


def build_nothing(args: dict[str, Any]) -> Any:
    return Nothing.bind()


def build(args: dict[str, Any]) -> Any:
    return BareReplica.bind(args["arguments"].split(" "), int(args["port"]))
