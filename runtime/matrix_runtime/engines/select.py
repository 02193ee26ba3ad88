"""Which engine a spec asks for."""

from __future__ import annotations

from matrix_crds.deployment import Engine as EngineSpec
from matrix_runtime.engines import vllm_arguments, vllm_options
from matrix_runtime.engines.port import Engine, EngineSettings
from matrix_runtime.errors import BadArguments


def make_engine(settings: EngineSettings) -> Engine:
    """The engine, not started. Raises BadArguments for one that does not run inside a cluster, and for arguments that it can't have."""
    if settings.engine.vllm is not None:
        # vLLM takes many seconds to import, so this happens only in the process that runs it, and after what can be checked without it.
        vllm_arguments.check_owned(settings.engine.vllm.args)
        vllm_options.check_known(settings.engine.vllm.args)
        from matrix_runtime.engines.vllm import VllmAdapter

        return VllmAdapter(settings.engine.vllm, settings)
    if settings.engine.dummy is not None:
        from matrix_runtime.engines.dummy import DummyAdapter

        return DummyAdapter(settings.engine.dummy, settings.served_name)
    raise BadArguments("engine must be vllm or dummy: no other one runs inside a cluster")


def needs_model(engine: EngineSpec) -> bool:
    """Whether the model's files are needed."""
    return engine.dummy is None


def environment(settings: EngineSettings) -> dict[str, str]:
    """What the engine host's environment must hold before anything is imported."""
    return vllm_arguments.environment(settings.engine.vllm, settings.resources) if settings.engine.vllm is not None else {}
