"""Issued keys: only hashes at rest, live changes, expiry and limits; and the cluster's own token."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx2
import pytest

from matrix_proto import inference_pb2 as pb
from matrix_proto.inference_pb2_grpc import InferenceStub
from matrix_proto.keys import KEYS_FILE, ApiKey, ApiKeys, digest
from tests.e2e.runtime.gateway_world import KEY, World
from tests.e2e.runtime.ray_cluster import eventually

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    try:
        world.start()
        world.declare("m", "empty")
        world.add("a", tokensPerSecond=1000)
        world.serves("m")
        yield world
    finally:
        world.stop()


def issue(world: World, *keys: ApiKey) -> None:
    draft = world.secrets / "draft"
    draft.write_text(ApiKeys(keys=keys).model_dump_json(by_alias=True))
    draft.replace(world.secrets / KEYS_FILE)


def key(id_: str, **more: Any) -> ApiKey:
    return ApiKey(id=id_, digest=digest(f"mxk-{id_}"), created=NOW, **more)


def ask(world: World, secret: str) -> httpx2.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{world.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def test_a_key_works_as_soon_as_it_is_issued_and_no_longer_when_it_is_revoked(world: World) -> None:
    assert ask(world, "mxk-one").status_code == 401
    issue(world, key("one"))
    eventually(lambda: ask(world, "mxk-one").status_code == 200, 20, "the key works")
    issue(world)
    eventually(lambda: ask(world, "mxk-one").status_code == 401, 20, "the key is revoked")


def status(world: World, headers: dict[str, str]) -> int:
    return httpx2.get(f"{world.url}/v1/models", headers=headers, timeout=60).status_code


def test_where_authorization_does_not_arrive_another_header_takes_its_place(world: World) -> None:
    token = KEY["Authorization"]
    assert status(world, {"X-Matrix-Authorization": token}) == 200
    assert status(world, {"X-Matrix-Authorization": "Bearer wrong", "Authorization": token}) == 401
    assert status(world, {"X-Matrix-Authorization": token, "Authorization": "Basic of-a-proxy"}) == 200
    assert status(world, {"X-Matrix-Authorization": "", "Authorization": token}) == 200


def test_an_expired_key_is_refused(world: World) -> None:
    issue(world, key("late", expires=NOW - timedelta(seconds=5)), key("live", expires=NOW + timedelta(hours=1)))
    eventually(lambda: ask(world, "mxk-live").status_code == 200, 20, "the other key works")
    answer = ask(world, "mxk-late")
    assert answer.status_code == 401 and "expired" in answer.json()["error"]["message"]


def test_requests_per_minute_are_limited_for_each_key(world: World) -> None:
    issue(world, key("few", requests_per_minute=3), key("many"))
    eventually(lambda: ask(world, "mxk-many").status_code == 200, 20, "the keys are known")
    codes = [ask(world, "mxk-few").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    refused = ask(world, "mxk-few")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["matrix-reason"] == "RateLimited" and refused.headers["matrix-retryable"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error" and "3 requests per minute" in refused.json()["error"]["message"]
    assert ask(world, "mxk-many").status_code == 200


def test_a_broken_key_file_leaves_the_keys_as_they_were(world: World) -> None:
    issue(world, key("kept"))
    eventually(lambda: ask(world, "mxk-kept").status_code == 200, 20, "the key works")
    (world.secrets / KEYS_FILE).write_text("{ this is no JSON")
    eventually(lambda: (report := world.report()) and KEYS_FILE in report.message, 20, "it is told")
    assert ask(world, "mxk-kept").status_code == 200
    issue(world)
    world.ready()


def test_a_changed_client_token_counts_from_the_next_look(world: World) -> None:
    token = world.secrets / "client-token"
    before = token.read_text()
    token.write_text("another-token")
    try:
        eventually(lambda: ask(world, "another-token").status_code == 200, 20, "the new one is taken, here and by the replica")
        assert ask(world, before).status_code == 401
    finally:
        token.write_text(before)
    eventually(lambda: ask(world, before).status_code == 200, 20, "the old one is back")


def test_the_keys_guard_grpc_alike(world: World) -> None:
    issue(world, key("few-grpc", requests_per_minute=2))
    eventually(lambda: ask(world, "mxk-few-grpc").status_code == 200, 20, "the key works")
    request = pb.ChatRequest(model="m", messages=[pb.Message(role="user", content="hi")], stream=True)

    def call(secret: str, model: str | None) -> tuple[grpc.StatusCode, str]:
        metadata = [("authorization", f"Bearer {secret}"), *([("x-matrix-model", model)] if model else [])]
        try:
            pieces = list(stub.Chat(request, metadata=metadata, timeout=60))
        except grpc.RpcError as error:
            return error.code(), dict(error.trailing_metadata())["matrix-reason"]
        return grpc.StatusCode.OK, "".join(piece.choices[0].text for piece in pieces if piece.choices)

    with grpc.insecure_channel(f"127.0.0.1:{world.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = InferenceStub(channel)  # type: ignore[no-untyped-call]
        code, text = call("mxk-few-grpc", "m")
        assert code is grpc.StatusCode.OK and text
        assert call("mxk-few-grpc", "m") == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RateLimited")
        token = KEY["Authorization"].removeprefix("Bearer ")
        assert call("wrong", "m") == (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated")
        assert call(token, None) == (grpc.StatusCode.INVALID_ARGUMENT, "BadRequest")
        assert call(token, "none") == (grpc.StatusCode.NOT_FOUND, "UnknownModel")
        assert call(token, "empty") == (grpc.StatusCode.UNAVAILABLE, "NotReady")
