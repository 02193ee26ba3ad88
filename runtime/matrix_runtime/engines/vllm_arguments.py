"""From a manifest to vLLM's command line and environment: pure functions, with golden tests. Written for vLLM 0.32."""

from __future__ import annotations

from matrix_crds import quantity
from matrix_crds.cluster import Resources
from matrix_crds.deployment import DataType, VllmEngine
from matrix_runtime.errors import BadArguments

CPU_BLOCK_SIZE = 32
"""Tokens. vLLM's default for CPU, 128, gives short prompts no prefix hits."""
CPU_CACHE_SHARE = 8
"""On CPU an eighth of the replica's memory is KV cache, at least CPU_CACHE_LEAST bytes."""
CPU_CACHE_LEAST = 128 * 1024**2

DTYPES = {
    DataType.AUTO: "auto",
    DataType.BFLOAT16: "bfloat16",
    DataType.FLOAT16: "float16",
    DataType.FLOAT32: "float32",
}
OWNED = {
    "--model": "model.source",
    "--served-model-name": "model.servedName",
    "--tensor-parallel-size": "engine.vllm.tensorParallel",
    "-tp": "engine.vllm.tensorParallel",
    "--pipeline-parallel-size": "engine.vllm.pipelineParallel",
    "-pp": "engine.vllm.pipelineParallel",
    "--host": None,
    "--port": None,
    "--uds": None,
    "--root-path": None,
    "--api-key": None,
    "--ssl-keyfile": None,
    "--ssl-certfile": None,
    "--headless": None,
    "--api-server-count": None,
    "--config": None,
}
"""Arguments that are not taken from `args`, and the field that says the same (None: Matrix decides it)."""


def check_owned(args: tuple[str, ...]) -> None:
    """Raises BadArguments for an argument that a field, or Matrix itself, sets."""
    for arg in args:
        name = arg.split("=", 1)[0].replace("_", "-")
        if name in OWNED:
            field = OWNED[name]
            remedy = f"set spec.{field} instead" if field else "Matrix sets it"
            raise BadArguments(f"spec.engine.vllm.args must not hold {name}: {remedy}")


def vllm_arguments(engine: VllmEngine, served_name: str, model: str, resources: Resources) -> list[str]:
    """The arguments of vLLM's OpenAI server. `model` is a directory, or a placeholder while arguments are only checked. The manifest's
    own `args` come last, so they win over the defaults."""
    arguments = ["--model", model, "--served-model-name", served_name, "--dtype", DTYPES[engine.dtype]]
    if engine.max_model_length is not None:
        arguments += ["--max-model-len", str(engine.max_model_length)]
    return [*arguments, *_parallel(engine), *_cpu(resources), *engine.args]


def environment(engine: VllmEngine, resources: Resources) -> dict[str, str]:
    """The environment that vLLM is imported in. The model is on disk by then, so the hub is never asked."""
    common = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    if resources.gpu:
        # The engine core must not be forked from a process that may have touched the GPU.
        return common | {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    threads = str(max(1, int(quantity.parse(resources.cpu))))
    # VLLM_ENABLE_V1_MULTIPROCESSING=0: no worker process under the engine core. vLLM wants one to set OpenMP up for it, and each
    # process costs another import of vLLM; here OpenMP is set up before the first import.
    cpu = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": threads}
    return common | cpu | ({"TORCHDYNAMO_DISABLE": "1"} if _eager(engine) else {})


def _eager(engine: VllmEngine) -> bool:
    """vLLM's sampler has functions that are compiled at their first use even with --enforce-eager: a first request with logprobs would hold
    up all others for 20 seconds."""
    return not any(arg.replace("_", "-").startswith("--no-enforce-eager") for arg in engine.args)


def may_fork(engine: VllmEngine, resources: Resources) -> bool:
    """Whether the engine core may be forked, which spares it another import of vLLM: most of a small model's start."""
    return resources.gpu == 0 and engine.tensor_parallel * engine.pipeline_parallel == 1


def _parallel(engine: VllmEngine) -> list[str]:
    if engine.tensor_parallel * engine.pipeline_parallel == 1:
        return []
    sizes = ["--tensor-parallel-size", str(engine.tensor_parallel), "--pipeline-parallel-size", str(engine.pipeline_parallel)]
    return [*sizes, "--distributed-executor-backend", "mp"]


def _cpu(resources: Resources) -> list[str]:
    if resources.gpu:
        return []
    cache = max(CPU_CACHE_LEAST, quantity.whole(resources.memory) // CPU_CACHE_SHARE)
    # --enforce-eager: compiling costs about two minutes on a cold start and gains little on CPU.
    return ["--enforce-eager", "--block-size", str(CPU_BLOCK_SIZE), "--kv-cache-memory-bytes", str(cache)]
