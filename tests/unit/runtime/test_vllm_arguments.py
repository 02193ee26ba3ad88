from __future__ import annotations

import pytest

from matrix_crds.cluster import Resources
from matrix_crds.deployment import DataType, VllmEngine
from matrix_runtime.engines.vllm_arguments import check_owned, environment, may_fork, vllm_arguments
from matrix_runtime.engines.vllm_options import check_known
from matrix_runtime.errors import BadArguments

GIB = 1024**3


def test_a_small_model_on_cpu() -> None:
    assert vllm_arguments(VllmEngine(), "m", "/models/m", Resources(cpu="1", memory="4Gi")) == [
        *("--model", "/models/m", "--served-model-name", "m", "--dtype", "auto"),
        *("--enforce-eager", "--block-size", "32", "--kv-cache-memory-bytes", str(GIB // 2)),
    ]


def test_the_kv_cache_has_a_least_size() -> None:
    arguments = vllm_arguments(VllmEngine(), "m", "/m", Resources(memory="512Mi"))
    assert arguments[-2:] == ["--kv-cache-memory-bytes", str(128 * 1024**2)]


def test_a_large_model_on_eight_gpus_and_the_manifests_own_arguments_last() -> None:
    engine = VllmEngine(
        dtype=DataType.BFLOAT16, max_model_length=32768, tensor_parallel=4, pipeline_parallel=2, args=("--enable-prefix-caching",)
    )
    assert vllm_arguments(engine, "llama", "/models/llama", Resources(cpu="16", memory="200Gi", gpu=8)) == [
        *("--model", "/models/llama", "--served-model-name", "llama", "--dtype", "bfloat16", "--max-model-len", "32768"),
        *("--tensor-parallel-size", "4", "--pipeline-parallel-size", "2", "--distributed-executor-backend", "mp"),
        "--enable-prefix-caching",
    ]


def test_one_gpu_needs_nothing_special() -> None:
    arguments = vllm_arguments(VllmEngine(dtype=DataType.FLOAT16), "m", "/m", Resources(gpu=1))
    assert arguments == ["--model", "/m", "--served-model-name", "m", "--dtype", "float16"]


@pytest.mark.parametrize(
    ("arg", "word"),
    [
        ("--served-model-name", "model.servedName"),
        ("--tensor_parallel_size=2", "engine.vllm.tensorParallel"),
        ("--port=80", "Matrix sets it"),
        ("--api-key", "Matrix sets it"),
    ],
)
def test_an_argument_that_a_field_sets_is_refused_with_the_field(arg: str, word: str) -> None:
    with pytest.raises(BadArguments, match=word):
        check_owned(("--enable-prefix-caching", arg))


@pytest.mark.parametrize("arg", ["--max-modl-len", "--max_modl_len=7", "--no-such.key=1"])
def test_an_option_that_vllm_does_not_have_is_refused_without_vllm(arg: str) -> None:
    with pytest.raises(BadArguments, match=f"unrecognized arguments: {arg}"):
        check_known(("--enable-prefix-caching", arg), "0.32.0")
    check_known((arg,), "0.33.0")
    check_known((arg,), "")


def test_a_near_miss_is_named() -> None:
    with pytest.raises(BadArguments, match=r"did you mean --max-model-len\?"):
        check_known(("--max-modl-len", "7"), "0.32.0")


@pytest.mark.parametrize(
    "args",
    [
        ("--max-model-len", "-1"),
        ("--max_num_seqs=4", "-tp", "2", "-O3"),
        ("--compilation-config.mode", "3"),
        ("--compilation_config.cudagraph_mode=NONE",),
        ("--no-enable-prefix-caching",),
        ("--enforce-eag",),
        ("--", "value"),
    ],
)
def test_every_form_of_an_option_that_vllm_reads_is_let_through(args: tuple[str, ...]) -> None:
    check_known(args, "0.32.0")


def test_threads_follow_the_cpus_and_the_hub_is_never_asked() -> None:
    assert environment(VllmEngine(), Resources(cpu="3"))["OMP_NUM_THREADS"] == "3"
    assert environment(VllmEngine(), Resources(cpu="500m"))["OMP_NUM_THREADS"] == "1"
    assert environment(VllmEngine(), Resources(cpu="8", gpu=1)) == {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }


def test_the_engine_core_is_forked_only_where_no_gpu_and_no_second_worker_is() -> None:
    assert may_fork(VllmEngine(), Resources())
    assert not may_fork(VllmEngine(), Resources(gpu=1))
    assert not may_fork(VllmEngine(tensor_parallel=2), Resources())


def test_nothing_is_compiled_on_cpu_unless_it_is_asked_for() -> None:
    assert environment(VllmEngine(), Resources())["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in environment(VllmEngine(args=("--no-enforce-eager",)), Resources())
    assert "TORCHDYNAMO_DISABLE" not in environment(VllmEngine(), Resources(gpu=1))
