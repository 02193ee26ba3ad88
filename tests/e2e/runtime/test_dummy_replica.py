"""mx-system and replicas of the dummy engine on a real Ray, and what happens when parts of them are killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
import httpx2
import psutil
import pytest

from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import REASON_KEY, RETRYABLE_KEY
from matrix_proto.inference_pb2_grpc import InferenceStub
from matrix_proto.state import REPLICAS_PATH, STATE_PATH, FailureReason, ReplicaState, ReplicaView, StartPhase
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, RAY_TOKEN, RayCluster, eventually, kill

pytestmark = pytest.mark.timeout(900)  # a start of Ray's parts, on a machine that may be busy

CHAT = {"model": "d", "messages": [{"role": "user", "content": "hello"}]}
METADATA = (("authorization", f"Bearer {CLIENT_TOKEN}"),)
CLIENT = {"Authorization": f"Bearer {CLIENT_TOKEN}"}


def ready(replica: ReplicaView) -> bool:
    return replica.state is ReplicaState.READY and not replica.suspect


@pytest.fixture
def model(cluster: RayCluster) -> Iterator[ReplicaView]:
    cluster.put_model("d", {"dummy": {"tokensPerSecond": 10}})
    yield cluster.replica("d", 240, ready, "a replica is ready")
    cluster.remove("mx-md-d")
    eventually(lambda: "mx-md-d" not in (cluster.serve_status() or {})["applications"], 60, "the model is gone")


def children(replica: ReplicaView) -> list[psutil.Process]:
    return psutil.Process(replica.pid).children(recursive=True)


def ended(processes: list[psutil.Process], seconds: float = 30) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def test_a_replica_is_seen_starting_and_then_ready_and_answers(cluster: RayCluster, model: ReplicaView) -> None:
    assert model.application == "mx-md-d" and model.model == "d" and model.attempt == 1
    assert model.http_url is not None
    answer = httpx2.post(model.http_url + "/v1/chat/completions", json=CHAT, headers=CLIENT)
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] > 0
    assert model.grpc_address is not None
    with grpc.insecure_channel(model.grpc_address) as channel:
        request = pb.ChatRequest(model="d", messages=[pb.Message(role="user", content="hello")])
        (reply,) = InferenceStub(channel).Chat(request, metadata=METADATA, timeout=30)
    assert reply.choices[0].text == answer.json()["choices"][0]["message"]["content"]
    assert psutil.Process(model.pid).nice() == 0, "the engine must not starve"
    state = cluster.state()
    assert (state.runtime_version, state.ray_version) != ("", "") and state.session_name.startswith("session_")


def test_tokens_are_asked_for_everywhere_but_at_health(cluster: RayCluster, model: ReplicaView) -> None:
    assert httpx2.get(cluster.state_url + STATE_PATH).status_code == 401
    assert httpx2.post(cluster.state_url + REPLICAS_PATH, json={}, headers=CLIENT).status_code == 401
    assert cluster.state(RAY_TOKEN).replicas
    assert httpx2.get(f"{model.http_url}/health").status_code == 200
    assert httpx2.get(f"{model.http_url}/v1/models").status_code == 401
    assert httpx2.get(f"{model.http_url}/v1/models", headers={"Authorization": f"Bearer {RAY_TOKEN}"}).status_code == 401
    assert httpx2.get(f"{model.http_url}/v1/models", headers=CLIENT).status_code == 200


def test_requests_in_flight_are_seen(cluster: RayCluster, model: ReplicaView) -> None:
    body = CHAT | {"stream": True, "max_tokens": 600, "ignore_eos": True}  # a minute
    with httpx2.stream("POST", f"{model.http_url}/v1/chat/completions", json=body, headers=CLIENT, timeout=30):
        cluster.replica("d", 20, lambda replica: replica.load.ongoing == 1, "one request in flight")
    cluster.replica("d", 20, lambda replica: replica.load.ongoing == 0, "none in flight")


def test_a_killed_directory_comes_back_empty_and_is_filled_again(cluster: RayCluster, model: ReplicaView) -> None:
    before = cluster.state()
    [directory] = cluster.titled("mx-system:Directory")
    kill(directory.pid)
    killed = time.monotonic()
    back = eventually(lambda: (now := cluster.state()).instance != before.instance and now, 60, "the directory is back")
    returned = time.monotonic()
    assert back.revision != before.revision
    cluster.replica("d", 20, ready, "the replica has reported again")
    print(f"directory back after {returned - killed:.1f} s, filled {time.monotonic() - returned:.1f} s later")
    assert cluster.replicas("d")[0].pid == model.pid


def test_a_killed_replica_takes_its_engine_along_is_suspect_and_another_comes(cluster: RayCluster, model: ReplicaView) -> None:
    host = children(model)
    assert host
    kill(model.pid)
    killed = time.monotonic()
    assert ended(host)
    suspect = cluster.replica("d", 20, lambda replica: replica.id == model.id and replica.suspect, "the killed one is suspect")
    assert suspect.state is ReplicaState.READY
    cluster.replica("d", 240, lambda replica: ready(replica) and replica.id != model.id, "another is ready")
    print(f"another replica ready {time.monotonic() - killed:.1f} s after the kill")
    eventually(lambda: all(replica.id != model.id for replica in cluster.replicas("d")), 40, "the killed one is forgotten")


def test_a_killed_engine_is_reported_and_another_replica_comes(cluster: RayCluster, model: ReplicaView) -> None:
    kill(children(model)[0].pid)
    failed = cluster.replica("d", 20, lambda replica: replica.id == model.id and replica.state is ReplicaState.FAILED, "it has failed")
    assert failed.failure is not None and failed.failure.reason is FailureReason.OUT_OF_MEMORY
    assert "ended while serving" in failed.message
    cluster.replica("d", 240, ready, "another is ready")
    assert all(replica.id != model.id for replica in cluster.replicas("d"))


def test_a_removed_replica_leaves_the_directory_goes_on_for_a_moment_and_finishes_its_streams(
    cluster: RayCluster, model: ReplicaView
) -> None:
    processes = [psutil.Process(model.pid), *children(model)]
    body = CHAT | {"stream": True, "max_tokens": 120, "ignore_eos": True}
    with httpx2.stream("POST", f"{model.http_url}/v1/chat/completions", json=body, headers=CLIENT, timeout=30) as answer:
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        first = json.loads(next(lines))
        cluster.remove("mx-md-d")
        # By whoever has not heard of it yet it is answered, then told to ask elsewhere; never cut off.
        asked = [datetime.now(UTC)]
        short = CHAT | {"max_tokens": 1}
        while (answered := httpx2.post(f"{model.http_url}/v1/chat/completions", json=short, headers=CLIENT)).status_code == 200:
            asked.append(datetime.now(UTC))
        assert (answered.status_code, answered.headers[REASON_KEY], answered.headers[RETRYABLE_KEY]) == (503, "Draining", "1")
        draining = cluster.replica("d", 10, lambda replica: replica.state is ReplicaState.DRAINING, "it drains")
        assert len(asked) > 1 and asked[-2] > draining.since, "it went on for a moment"
        rest = list(lines)
    assert first["choices"][0]["delta"]["content"] and rest[-1] == "[DONE]"
    assert ended(processes, 60)


def test_settings_change_live_and_nonsense_in_them_kills_nothing(cluster: RayCluster, model: ReplicaView) -> None:
    engine = {"dummy": {"tokensPerSecond": 10}}
    cluster.put_model("d", engine, user_config={"attempt": 5, "drainSeconds": 1})
    cluster.replica("d", 20, lambda replica: replica.id == model.id and replica.attempt == 5, "the new attempt is told")
    cluster.put_model("d", engine, user_config={"attempt": "many"})
    cluster.replica("d", 20, lambda replica: replica.id == model.id and replica.attempt == 1, "nonsense counts as nothing")
    assert psutil.Process(model.pid).is_running()


def test_a_missing_model_is_told_in_plain_words_and_a_raised_attempt_tries_again(cluster: RayCluster) -> None:
    started = time.monotonic()
    cluster.put_model("gone", {"vllm": {}}, source="file:///no/such/model")
    failed = cluster.replica("gone", 240, lambda replica: replica.state is ReplicaState.FAILED, "it has failed")
    print(f"told after {time.monotonic() - started:.1f} s")
    assert failed.failure is not None and failed.failure.reason is FailureReason.MODEL_NOT_FOUND
    assert "/no/such/model" in failed.message
    application = eventually(
        lambda: (app := (cluster.serve_status() or {})["applications"]["mx-md-gone"])["status"] == "DEPLOY_FAILED" and app,
        180,
        "Serve gives up",
    )
    assert "ModelNotFound" in json.dumps(application)
    assert 1 <= len(cluster.replicas("gone")) <= 3
    cluster.put_model("gone", {"vllm": {}}, source="file:///no/such/model", attempt=2)
    again = cluster.replica("gone", 60, lambda replica: replica.attempt == 2, "it is tried again")
    assert again.phase in (StartPhase.PREPARING, None)
    assert all(replica.attempt == 2 for replica in cluster.replicas("gone"))
    cluster.remove("mx-md-gone")
