"""An engine host with the dummy engine, no Ray: both transports, their limits, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import httpx2
import openai
import pytest

from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import ATTEMPT_KEY, REASON_KEY, RETRYABLE_KEY
from matrix_proto.limits import LARGEST_MESSAGE
from tests.e2e.runtime.engine_host import HEADERS, METADATA, TOKEN, EngineHost, refused
from tests.e2e.runtime.openai_checks import CHECKS, Check
from tests.e2e.runtime.ray_cluster import eventually

ASK = [pb.Message(role="user", content="hello")]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ENDLESS = b'{"ignore_eos": true}'
METHODS = ("Chat", "Complete", "Embed", "Models")
SLOW = {"dummy": {"tokensPerSecond": 20, "firstTokenSeconds": "0"}}


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with EngineHost() as host:
        yield host


@pytest.fixture
def slow() -> Iterator[EngineHost]:
    with EngineHost(SLOW) as host:
        yield host


def long_chat(stream: bool = True, words: int = 2000) -> pb.ChatRequest:
    return pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(max_tokens=words), stream=stream, extra_json=ENDLESS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_openai_package(host: EngineHost, check: Check) -> None:
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=TOKEN, max_retries=0) as client:
        check(client, host.name)


def test_embeddings_over_both_transports_are_the_same_unit_vectors(host: EngineHost) -> None:
    (reply,) = host.stub.Embed(pb.EmbedRequest(model="m", input=["one", "two words"], extra_json=b'{"dimensions": 8}'), metadata=METADATA)
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=TOKEN) as client:
        answer = client.embeddings.create(model="m", input=["one", "two words"], dimensions=8)
    for over_grpc, over_http in zip(reply.embeddings, answer.data, strict=True):
        assert list(over_grpc.values) == pytest.approx(over_http.embedding) and len(over_grpc.values) == 8
        assert sum(value * value for value in over_grpc.values) == pytest.approx(1, abs=1e-5)
    assert reply.usage.prompt_tokens == 3 and "data" not in json.loads(reply.json)


def test_a_reply_has_the_engines_json_and_the_typed_fields(host: EngineHost) -> None:
    request = pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(max_tokens=3, temperature=0), extra_json=b'{"n": 2}')
    (reply,) = host.stub.Chat(request, metadata=METADATA)
    whole = json.loads(reply.json)
    assert [choice.text for choice in reply.choices] == [choice["message"]["content"] for choice in whole["choices"]]
    assert (reply.usage.completion_tokens, reply.choices[1].index, reply.choices[1].finish_reason) == (6, 1, "length")
    request.stream = True
    parts = list(host.stub.Chat(request, metadata=METADATA))
    for choice in reply.choices:
        assert "".join(part.choices[0].text for part in parts if part.choices[0].index == choice.index) == choice.text
    assert all(json.loads(part.json)["object"] == "chat.completion.chunk" for part in parts)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "Basic client-secret"),)])
def test_every_method_is_refused_without_the_token(host: EngineHost, name: str, metadata: tuple[tuple[str, str], ...]) -> None:
    assert {method.name for method in pb.DESCRIPTOR.services_by_name["Inference"].methods} == set(METHODS)
    request = getattr(pb, f"{name}Request")()
    with pytest.raises(grpc.RpcError) as caught:
        answer = getattr(host.stub, name)(request, metadata=metadata)
        list(answer if name != "Models" else [answer])
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert dict(caught.value.trailing_metadata())[REASON_KEY] == "Unauthenticated"


@pytest.mark.parametrize("path", ["/matrix.inference.v1.Inference/Nothing", "/grpc.health.v1.Health/Check", "/x/y"])
def test_an_unknown_method_does_not_exist_and_is_refused_without_the_token(host: EngineHost, path: str) -> None:
    call = host.grpc.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    for metadata, status in ((METADATA, grpc.StatusCode.UNIMPLEMENTED), ((), grpc.StatusCode.UNAUTHENTICATED)):
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", metadata=metadata, timeout=10)
        assert caught.value.code() is status


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (pb.ChatRequest(model="other", messages=ASK), grpc.StatusCode.NOT_FOUND, "UnknownModel"),
        (pb.ChatRequest(model="m"), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
        (pb.ChatRequest(model="m", messages=ASK, extra_json=b"{"), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
        (pb.ChatRequest(model="m", messages=ASK, extra_json=b'{"stream": true}'), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
        (pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(n=0)), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
        (pb.ChatRequest(model="m", messages=ASK, extra_json=b"[" * 100_000), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
    ],
)
def test_the_callers_mistakes_are_never_retryable(host: EngineHost, request_: pb.ChatRequest, status: grpc.StatusCode, reason: str) -> None:
    assert refused(host.stub.Chat(request_, metadata=METADATA))[:2] == (status, {REASON_KEY: reason, RETRYABLE_KEY: "0"})


def test_words_of_any_length_and_script_reach_the_caller(host: EngineHost) -> None:
    status, told, words = refused(host.stub.Chat(pb.ChatRequest(model="狐" * 100_000, messages=ASK), metadata=METADATA))
    assert (status, told[REASON_KEY]) == (grpc.StatusCode.NOT_FOUND, "UnknownModel") and words.startswith("The model `狐狐狐")


def test_a_failure_of_the_engine_is_retryable() -> None:
    with EngineHost({"dummy": {"failureRate": "1"}}) as host:
        status, told, words = refused(host.stub.Chat(pb.ChatRequest(model="m", messages=ASK), metadata=METADATA))
        assert (status, told[RETRYABLE_KEY]) == (grpc.StatusCode.UNAVAILABLE, "1") and "on purpose" in words
        answer = host.http.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, answer.headers[REASON_KEY], answer.headers[RETRYABLE_KEY]) == (500, "EngineFailed", "1")


def test_a_cancelled_call_a_deadline_and_a_closed_connection_free_the_sequence(slow: EngineHost) -> None:
    call = slow.stub.Chat(long_chat(), metadata=METADATA)
    next(call)
    whole = slow.stub.Chat(long_chat(stream=False), metadata=METADATA)
    slow.until_running(2)
    eventually(lambda: slow.busy.ongoing == 2 and slow.busy.cache_use > 0, 20, "the load is told")
    call.cancel()
    whole.cancel()
    slow.until_running(0)
    assert refused(slow.stub.Chat(long_chat(), metadata=METADATA, timeout=2))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    slow.until_running(0)
    endless = CHAT | {"stream": True, "max_tokens": 2000, "ignore_eos": True}
    with slow.http.stream("POST", "/v1/chat/completions", json=endless) as answer:
        lines = answer.iter_lines()
        next(lines)
        slow.until_running(1)
    slow.until_running(0)
    assert slow.metric("matrix_requests_total", code="CANCELLED") == 3
    assert slow.metric("matrix_requests_total", code="499", transport="http") == 1
    eventually(lambda: slow.busy.ongoing == 0, 20, "the load is told")


def test_a_reader_that_does_not_read_costs_no_memory(host: EngineHost) -> None:
    """50,000 words are 10 MB of replies each."""
    before = host.memory()
    calls = [host.stub.Chat(long_chat(words=50_000), metadata=METADATA) for _ in range(2)]
    for call in calls:
        next(call)
    ends = [raw_stream(host) for _ in range(2)]
    told = host.metric("matrix_inter_token_seconds_count")

    def stuck() -> bool:
        nonlocal told
        before, told = told, host.metric("matrix_inter_token_seconds_count")
        time.sleep(0.3)
        return before == told

    eventually(stuck, 60, "all of them wait for their readers")
    assert host.running() == 4
    assert host.memory() - before < 30 * 1024**2
    for call in calls:
        call.cancel()
    for end in ends:
        end.close()
    host.until_running(0)


def raw_stream(host: EngineHost) -> socket.socket:
    """A stream over HTTP whose first bytes alone are read."""
    address = urlsplit(host.url)
    body = json.dumps(CHAT | {"stream": True, "max_tokens": 50_000, "ignore_eos": True})
    end = socket.create_connection((address.hostname or "", address.port or 0))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    end.sendall((head + body).encode())
    assert end.recv(15).startswith(b"HTTP/1.1 200")
    return end


def test_two_hundred_streams_at_once_over_each_transport(host: EngineHost) -> None:
    calls = [host.stub.Chat(pb.ChatRequest(model="m", messages=ASK, stream=True), metadata=METADATA) for _ in range(200)]
    texts = {"".join(reply.choices[0].text for reply in call) for call in calls}
    assert len(texts) == 1
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(stream_text(host))) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 200 and set(answers) == texts


def stream_text(host: EngineHost) -> str:
    answer = host.http.post("/v1/chat/completions", json=CHAT | {"stream": True})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)


def test_fifty_megabytes_pass_and_what_is_larger_than_the_limit_does_not(host: EngineHost) -> None:
    text = "x" * (50 * 1024**2)
    request = pb.ChatRequest(model="m", messages=[pb.Message(role="user", content=text)], sampling=pb.Sampling(max_tokens=1))
    (reply,) = host.stub.Chat(request, metadata=METADATA)
    assert reply.usage.completion_tokens == 1
    answer = host.http.post("/v1/chat/completions", json=CHAT | {"messages": [{"role": "user", "content": text}], "max_tokens": 1})
    assert answer.json()["usage"]["completion_tokens"] == 1
    request.messages[0].content = "x" * (LARGEST_MESSAGE + 1)
    assert refused(host.stub.Chat(request, metadata=METADATA))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_a_body_is_refused_at_once(host: EngineHost, announced: bool) -> None:
    """Before it has been sent, or, where its length was not announced, as soon as the limit is passed."""
    connection = http.client.HTTPConnection(host.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    for name, value in HEADERS.items():
        connection.putheader(name, value)
    if announced:
        connection.putheader("Content-Length", str(LARGEST_MESSAGE + 1))
        connection.endheaders()
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for _ in range(LARGEST_MESSAGE // 1024**2 + 1):
            connection.send(b"100000\r\n" + b" " * 1024**2 + b"\r\n")
    answer = connection.getresponse()
    assert (answer.status, answer.headers[REASON_KEY]) == (413, "TooLarge")
    assert "64 MiB" in json.load(answer)["error"]["message"]
    connection.close()


def test_random_bytes_on_either_port_do_no_harm(host: EngineHost) -> None:
    dice = random.Random(1)
    address = urlsplit(host.url)
    for port in (address.port or 0, int(host.grpc_address.rpartition(":")[2])):
        for start in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\n", b"\x16\x03\x01"):
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", port)) as end:
                    end.sendall(start + dice.randbytes(dice.randint(1, 5000)))
    assert host.http.post("/v1/chat/completions", content=os.urandom(2000)).status_code == 400
    assert host.http.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert len(list(host.stub.Chat(pb.ChatRequest(model="m", messages=ASK), metadata=METADATA))) == 1


def test_metrics_count_both_transports_alike() -> None:
    with EngineHost() as host:
        request = pb.ChatRequest(model="m", messages=ASK, sampling=pb.Sampling(max_tokens=4))
        list(host.stub.Chat(request, metadata=(*METADATA, (ATTEMPT_KEY, "2"))))
        list(host.stub.Complete(pb.CompleteRequest(model="m", prompt="x y", sampling=pb.Sampling(max_tokens=4)), metadata=METADATA))
        host.http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 4, "stream": True})
        host.http.post("/v1/chat/completions", json=CHAT | {"model": "other"}, headers={ATTEMPT_KEY: "3"})
        host.http.get("/v1/models")
        seen = {key: value for key, value in host.metrics().items() if key.startswith("matrix_") and value and "bucket" not in key}
    durations = {key: seen.pop(key) for key in list(seen) if "_seconds_sum" in key}
    assert set(durations) <= {'matrix_time_to_first_token_seconds_sum{model="m"}', 'matrix_inter_token_seconds_sum{model="m"}'}
    assert seen == {
        'matrix_requests_total{api="chat",code="OK",model="m",transport="grpc"}': 1,
        'matrix_requests_total{api="complete",code="OK",model="m",transport="grpc"}': 1,
        'matrix_requests_total{api="chat",code="200",model="m",transport="http"}': 1,
        'matrix_requests_total{api="chat",code="404",model="m",transport="http"}': 1,
        'matrix_retries_total{api="chat",model="m",transport="grpc"}': 1,
        'matrix_retries_total{api="chat",model="m",transport="http"}': 1,
        'matrix_tokens_total{kind="prompt",model="m"}': 6,
        'matrix_tokens_total{kind="completion",model="m"}': 12,
        'matrix_time_to_first_token_seconds_count{model="m"}': 3,
        'matrix_inter_token_seconds_count{model="m"}': 9,
    }


def test_draining_refuses_what_is_new_and_finishes_what_is_in_flight(slow: EngineHost) -> None:
    call = slow.stub.Chat(long_chat(words=160), metadata=METADATA)  # eight seconds: what is asked meanwhile takes its time
    next(call)
    with slow.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 160, "ignore_eos": True}) as stream:
        lines = (line for line in stream.iter_lines() if line)
        next(lines)
        slow.drain(30)
        answer = eventually(lambda: (now := ask(slow)).status_code != 200 and now, 10, "new requests are refused")
        assert (answer.status_code, answer.headers[REASON_KEY], answer.headers[RETRYABLE_KEY]) == (503, "Draining", "1")
        assert answer.headers["retry-after"] == "1" and "shutting down" in answer.json()["error"]["message"]
        status, told, _ = refused(slow.stub.Chat(long_chat(), metadata=METADATA))
        assert (status, told) == (grpc.StatusCode.UNAVAILABLE, {REASON_KEY: "Draining", RETRYABLE_KEY: "1"})
        assert slow.http.get("/health").status_code == 200
        assert len(list(call)) == 160 and list(lines)[-1] == "data: [DONE]"
    assert slow.process.wait(30) == 0


def ask(host: EngineHost) -> httpx2.Response:
    return host.http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 1})


def test_what_outlasts_the_drain_ends_with_a_clear_error(slow: EngineHost) -> None:
    call = slow.stub.Chat(long_chat(), metadata=METADATA)
    whole = slow.stub.Chat(long_chat(stream=False), metadata=METADATA)
    next(call)
    answers: list[httpx2.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(slow.http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 2000, "ignore_eos": True}))
    )
    asking.start()
    with slow.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 2000, "ignore_eos": True}) as stream:
        lines = (line for line in stream.iter_lines() if line)
        next(lines)
        slow.until_running(4)
        started = time.monotonic()
        slow.drain(1)
        status, told, words = refused(call)
        assert (status, told) == (grpc.StatusCode.ABORTED, {REASON_KEY: "BrokeOff", RETRYABLE_KEY: "1"}) and "drainSeconds" in words
        assert refused(whole)[0] is grpc.StatusCode.UNAVAILABLE
        last = json.loads(list(lines)[-1].removeprefix("data: "))
        assert last["error"]["code"] == 502 and "ask again" in last["error"]["message"]
    asking.join(30)
    assert (answers[0].status_code, answers[0].headers[RETRYABLE_KEY]) == (502, "1")
    assert slow.process.wait(30) == 0
    assert 1 <= time.monotonic() - started < 50, "the answers themselves take a hundred seconds"
