"""The runtime where nodes have addresses of their own: stand-ins for pods, from the templates that are rendered for Kubernetes."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import grpc
import httpx2
import psutil
import pytest

from matrix_operator.backends.kuberay.names import DIRECTORY_PORT, GATEWAY_PORT, STATE_PORT
from matrix_proto import directory_pb2, inference_pb2
from matrix_proto.directory_pb2_grpc import DirectoryStub
from matrix_proto.inference_pb2_grpc import InferenceStub
from matrix_proto.state import HEALTH_PATH, STATE_PATH
from tests.e2e.runtime.pod import Pod
from tests.e2e.runtime.pod_cluster import BEARER, PodCluster
from tests.e2e.runtime.pod_network import needs_network_namespaces
from tests.e2e.runtime.ray_cluster import eventually

pytestmark = pytest.mark.timeout(900)  # three starts of Ray's parts, on a machine that may be busy

METADATA = (("authorization", BEARER["Authorization"]),)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
DIRECT = [("grpc.enable_http_proxy", 0)]


@pytest.fixture(scope="module")
def pods() -> Iterator[PodCluster]:
    """A head, a worker, and a model whose one replica fits only there."""
    needs_network_namespaces()
    pods = PodCluster()
    try:
        pods.start()
        pods.add_worker()
        pods.deploy("m")
        pods.replicas("m", 1)
        yield pods
    finally:
        pods.stop()


def ask(pods: PodCluster, host: str, **headers: str) -> httpx2.Response:
    url = f"http://{host}:{GATEWAY_PORT}/v1/chat/completions"
    return httpx2.post(url, json=CHAT, headers=headers or BEARER, timeout=60, trust_env=False)


def answered(pods: PodCluster) -> bool:
    return ask(pods, pods.head.place.address).status_code == 200


def named(pod: Pod, title: str) -> psutil.Process:
    """The process of the pod whose title has this."""

    def has_it(process: psutil.Process) -> bool:
        try:
            return title in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it has just ended
            return False

    def look() -> psutil.Process | None:
        found = [process for process in pod.processes() if has_it(process)]
        return found[0] if len(found) == 1 else None

    return eventually(look, 60, f"one process of {title}")


def test_a_replica_is_announced_with_its_own_nodes_address_and_the_gateway_with_the_heads(pods: PodCluster) -> None:
    [replica], gateway = pods.replicas("m", 1), pods.state().gateway
    worker = pods.workers[0].place.address
    assert urlsplit(replica.http_url or "").hostname == worker != pods.head.place.address
    assert (replica.grpc_address or "").rpartition(":")[0] == worker
    assert gateway is not None and gateway.ready and gateway.url == pods.gateway


def test_it_answers_through_the_gateway_over_both_families_and_straight_from_a_third_place(pods: PodCluster) -> None:
    for host in (pods.head.place.address, f"[{pods.head.place.address6}]"):
        answer = ask(pods, host)
        assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"]
    request = inference_pb2.ChatRequest(model="m", messages=[inference_pb2.Message(role="user", content="hello")])
    with grpc.insecure_channel(pods.replicas("m", 1)[0].grpc_address or "", options=DIRECT) as channel:
        replies = list(InferenceStub(channel).Chat(request, metadata=METADATA, timeout=60))  # type: ignore[no-untyped-call]
    assert replies[0].choices[0].text


def test_the_directorys_stream_tells_of_the_replica(pods: PodCluster) -> None:
    with grpc.insecure_channel(pods.directory, options=DIRECT) as channel:
        stream = DirectoryStub(channel).Watch(directory_pb2.WatchRequest(), metadata=METADATA, timeout=60)  # type: ignore[no-untyped-call]
        told = next(iter(stream)).replicas
        stream.cancel()
    assert [one.http_url for one in told if one.application == "mx-md-m"] == [pods.replicas("m", 1)[0].http_url]


def test_a_token_may_come_in_the_header_that_gets_through_an_api_servers_proxy(pods: PodCluster) -> None:
    head, token = pods.head.place.address, BEARER["Authorization"]
    assert ask(pods, head, **{"X-Matrix-Authorization": token}).status_code == 200
    state = f"http://{head}:{STATE_PORT}{STATE_PATH}"
    assert httpx2.get(state, headers={"X-Matrix-Authorization": token}, trust_env=False).status_code == 200
    assert httpx2.get(state, trust_env=False).status_code == 401


def _command(pid: int) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def owners(pod: Pod) -> set[int]:
    """The uids of its processes."""
    found = set()
    for process in pod.processes():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found.add(process.uids().real)
    return found


def ports(pod: Pod) -> dict[int, str]:
    """Port -> what listens there, beyond loopback."""
    found: dict[int, str] = {}
    for line in pod.listening():
        host, _, port = line.split()[3].rpartition(":")
        if host not in ("127.0.0.1", "[::1]"):
            owner = re.search(r"pid=(\d+)", line)
            found[int(port)] = _command(int(owner[1])) if owner else ""
    return found


def test_everything_of_ours_beyond_loopback_asks_for_a_token(pods: PodCluster) -> None:
    head, [replica] = pods.head.place.address, pods.replicas("m", 1)
    ours = {port for port, command in ports(pods.head).items() if re.search("mx-system|haproxy", command)}
    assert {GATEWAY_PORT, STATE_PORT, DIRECTORY_PORT} <= ours
    for url in (f"{pods.gateway}/v1/models", f"http://{head}:{STATE_PORT}{STATE_PATH}", f"{replica.http_url}/v1/models"):
        assert httpx2.get(url, trust_env=False).status_code == 401, url
    for url in (f"{pods.gateway}/health", f"http://{head}:{STATE_PORT}{HEALTH_PATH}", f"{replica.http_url}/health"):
        assert httpx2.get(url, trust_env=False).status_code == 200, url
    for address, method in ((pods.directory, "Directory/Watch"), (replica.grpc_address or "", "Inference/Chat")):
        with grpc.insecure_channel(address, options=DIRECT) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                list(channel.unary_stream(f"/matrix.{method.split('/')[0].lower()}.v1.{method}")(b"", timeout=30))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, address


def test_a_killed_replica_comes_back_and_a_killed_gateway_too(pods: PodCluster) -> None:
    [before] = pods.replicas("m", 1)
    named(pods.workers[0], "ServeReplica:mx-md-m").send_signal(signal.SIGKILL)
    pods.replicas("m", 1, lambda one: one.id != before.id)
    eventually(lambda: answered(pods), 60, "the new replica is asked")
    gateway = named(pods.head, "mx-system:Gateway")
    gateway.send_signal(signal.SIGKILL)
    eventually(lambda: named(pods.head, "mx-system:Gateway").pid != gateway.pid and answered(pods), 120, "a new gateway answers")
    directories = pods.head.exec("ls -d /tmp/mx-gateway-*", 30).stdout.split()
    assert len(directories) == 1, "what the killed one left is cleared away"


def test_whatever_the_uid_nothing_is_written_outside_of_the_pods_own_places(pods: PodCluster) -> None:
    owner = pods.head.first().uids().real
    assert owner == pods.settings.run_as_user and owners(pods.head) == {owner}
    assert pods.head.exec("id -un", 30).returncode != 0, "it has no name"
    assert pods.head.exec("touch $HOME/here && test -e /var/lib/matrix/gcs/tables/CURRENT", 30).returncode == 0, (
        "a home, and RocksDB's tables"
    )


def test_the_gateway_is_reached_from_within_the_pod_where_a_port_forward_arrives(pods: PodCluster) -> None:
    for host in ("127.0.0.1", "::1"):
        assert pods.head.exec(f"exec 3<>/dev/tcp/{host}/{GATEWAY_PORT}", 30).returncode == 0


TOKENS = 60


def streamed(url: str) -> int:
    """How many tokens of a stream of some seconds came; -1 when its end did not."""
    body = CHAT | {"model": "slow", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, headers=BEARER, timeout=120, trust_env=False) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    if not lines or lines.pop() != "data: [DONE]":
        return -1
    return sum(1 for line in lines if json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content"))


def statuses(pods: PodCluster, over: threading.Event) -> list[int]:
    """Of short requests, one after the other."""
    found = []
    while not over.is_set():
        answer = httpx2.post(f"{pods.gateway}/v1/chat/completions", json=CHAT, headers=BEARER, timeout=120, trust_env=False)
        found.append(answer.status_code)
    return found


def test_a_worker_that_is_deleted_finishes_what_it_has_begun_and_its_replicas_move(pods: PodCluster) -> None:
    """As Kubernetes ends a pod: SIGTERM to process 1, and SIGKILL when the grace period is over."""
    pods.deploy("slow", engine={"dummy": {"tokensPerSecond": 6}})
    leaving, over = pods.workers[0], threading.Event()
    [slow] = pods.replicas("slow", 1)
    staying = pods.add_worker()
    with ThreadPoolExecutor(8) as executor:
        short = executor.submit(statuses, pods, over)
        streams = [executor.submit(streamed, url) for url in [pods.gateway, slow.http_url or ""] * 3]
        eventually(lambda: pods.replicas("slow", 1)[0].load.ongoing == len(streams), 30, "all streams have begun")
        grace = pods.settings.drain_seconds + 30
        took = leaving.terminate(grace)
        for name in ("m", "slow"):
            [moved] = pods.replicas(name, 1)
            assert urlsplit(moved.http_url or "").hostname == staying.place.address
        over.set()
        assert [stream.result() for stream in streams] == [TOKENS] * len(streams)
        assert set(short.result()) == {200} and len(short.result()) > 10
    assert took < grace, "it ended by itself"
