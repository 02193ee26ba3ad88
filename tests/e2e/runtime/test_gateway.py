"""The gateway of mx-system on a real Ray: told by the directory's watch, in front of dummy replicas."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import openai
import psutil
import pytest

from matrix_proto.state import GATEWAY_PATH, GatewayView, ReplicaState
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, RayCluster, eventually, kill

pytestmark = pytest.mark.timeout(900)  # a start of Ray's parts, on a machine that may be busy

KEY = {"Authorization": f"Bearer {CLIENT_TOKEN}"}


@pytest.fixture(scope="module")
def gateway(cluster: RayCluster) -> Iterator[openai.OpenAI]:
    cluster.put_system("g", "later")
    cluster.put_model("g", {"dummy": {"tokensPerSecond": 100}}, num_replicas=2)
    told(cluster)
    eventually(lambda: len([one for one in cluster.replicas("g") if one.state is ReplicaState.READY]) == 2, 240, "two replicas are ready")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{cluster.gateway_port}/v1", api_key=CLIENT_TOKEN, max_retries=0, timeout=60)
    yield client
    cluster.remove("mx-md-g")
    cluster.put_system()


def told(cluster: RayCluster) -> GatewayView:
    """What the directory says of the gateway, once it is ready."""
    return eventually(lambda: (view := cluster.state().gateway) and view.ready and view.heartbeat_age < 3 and view, 60, "it is ready")


def chat(client: openai.OpenAI, model: str = "g") -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=4)
    return answer.choices[0].message.content or ""


def test_the_gateway_reports_itself_and_answers(cluster: RayCluster, gateway: openai.OpenAI) -> None:
    view = told(cluster)
    assert view.url == f"http://127.0.0.1:{cluster.gateway_port}" and view.message == ""
    assert "haproxy" in psutil.Process(view.pid).name()
    assert len(chat(gateway).split()) == 4
    assert [model.id for model in gateway.models.list()] == ["g", "later"]
    assert httpx2.post(cluster.state_url + GATEWAY_PATH, json={"ready": True}, headers=KEY).status_code == 401


def test_a_replica_that_dies_is_answered_for_by_the_other(cluster: RayCluster, gateway: openai.OpenAI) -> None:
    victim = cluster.replicas("g")[0]
    kill(victim.pid)
    for _ in range(20):
        assert chat(gateway)

    def others() -> bool:
        """The victim is Ready until somebody notices."""
        found = cluster.replicas("g")
        ready = [one for one in found if one.state is ReplicaState.READY and not one.suspect and one.id != victim.id]
        return len(ready) == 2

    eventually(others, 240, "another is up")


def test_requests_for_a_model_that_is_not_up_yet_wait_for_it(cluster: RayCluster, gateway: openai.OpenAI) -> None:
    refused = httpx2.post(
        f"{gateway.base_url}chat/completions",
        json={"model": "later", "messages": [{"role": "user", "content": "x"}]},
        headers=KEY | {"x-matrix-wait-seconds": "0.2"},
        timeout=60,
    )
    assert refused.status_code == 503 and "no replica has been started yet" in refused.json()["error"]["message"]
    cluster.put_model("later", {"dummy": {"tokensPerSecond": 100}})
    try:
        assert chat(gateway, "later")
    finally:
        cluster.remove("mx-md-later")


def test_it_goes_on_with_what_it_knows_while_the_directory_is_away(cluster: RayCluster, gateway: openai.OpenAI) -> None:
    before = cluster.state()
    assert before.gateway is not None
    [directory] = cluster.titled("mx-system:Directory")
    kill(directory.pid)
    answers = 0
    while (now := look(cluster)) is None or now == before.instance:
        assert chat(gateway)
        answers += 1
    assert answers > 0
    for _ in range(20):
        assert chat(gateway)
        time.sleep(0.1)
    assert told(cluster).pid == before.gateway.pid, "HAProxy was left alone"


def look(cluster: RayCluster) -> str | None:
    try:
        return cluster.state().instance
    except httpx2.HTTPError:
        return None


def test_a_killed_gateway_is_started_again_by_serve(cluster: RayCluster, gateway: openai.OpenAI) -> None:
    before = told(cluster)
    [actor] = cluster.titled("mx-system:Gateway")
    replicas = pids(cluster)
    assert len(replicas) == 2
    kill(actor.pid)
    killed = time.monotonic()
    eventually(lambda: told(cluster).pid != before.pid, 240, "another HAProxy")
    eventually(lambda: answers(gateway), 240, "it answers")
    print(f"answers again {time.monotonic() - killed:.1f} s after the kill")
    assert pids(cluster) == replicas


def pids(cluster: RayCluster) -> set[int]:
    """Of the replicas that serve."""
    return {one.pid for one in cluster.replicas("g") if one.state is ReplicaState.READY and not one.suspect}


def answers(client: openai.OpenAI) -> bool:
    try:
        return bool(chat(client))
    except openai.APIError:
        return False
