"""The gateway among real faults: parts killed and frozen, strangers on its port, replicas that come and go under load."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import httpx2
import psutil
import pytest

from tests.e2e.runtime.gateway_world import KEY, World
from tests.e2e.runtime.ray_cluster import eventually, kill

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    try:
        world.start()
        world.declare("m")
        yield world
    finally:
        world.stop()


def ask(world: World, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{world.url}/v1/chat/completions", json=CHAT | {"max_tokens": 2} | body, headers=KEY, timeout=60)


def haproxy(world: World) -> int:
    return world.ready().pid


def servers(world: World) -> dict[str, str]:
    """Name -> admin state of each HTTP server of the first model."""
    lines = [line.split() for line in world.admin("show servers state least-0").splitlines()]
    return {line[3]: line[6] for line in lines if len(line) > 6 and line[0].isdigit()}


class Load:
    """Threads that ask again and again, each over one connection, until it is stopped."""

    def __init__(self, world: World, threads: int = 8) -> None:
        self.answers: list[int] = []
        self.errors: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(world,)) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.answers) > 20, 60, "requests are being answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Until so many further requests are answered."""
        have = len(self.answers)
        eventually(lambda: len(self.answers) >= have + count, 60, "the load goes on")

    def _run(self, world: World) -> None:
        with httpx2.Client(headers=KEY, timeout=60) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(f"{world.url}/v1/chat/completions", json=CHAT | {"max_tokens": 2})
                    self.answers.append(answer.status_code)
                    if answer.status_code != 200:
                        self.errors.append(answer.text)
                except httpx2.HTTPError as error:
                    self.errors.append(repr(error))


def test_replicas_and_models_come_drain_and_go_without_a_lost_request(world: World) -> None:
    world.add("a", tokensPerSecond=500)
    world.serves("m")
    process = haproxy(world)
    with Load(world) as load:
        world.add("b", tokensPerSecond=500)
        eventually(lambda: len(servers(world)) == 2, 30, "the second replica is a server")
        world.declare("m", "new")
        world.add("n", "new")
        world.serves("new")
        world.replicas["a"].state = "Draining"
        world.tell()
        eventually(lambda: "8" in servers(world).values(), 30, "the first one drains")
        load.more(50)
        world.replicas["a"].process.send_signal(signal.SIGTERM)
        world.replicas["a"].process.wait(30)
        world.remove("a")
        eventually(lambda: len(servers(world)) == 1, 30, "the first one is gone")
        world.declare("m")
        load.more(50)
    assert load.errors == []
    assert haproxy(world) == process, "no restart, no reload"
    assert world.served() == ["m"]


def test_a_killed_replica_under_32_streams(world: World) -> None:
    for id_ in ("a", "b"):
        world.add(id_, tokensPerSecond=4, firstTokenSeconds="3")
    eventually(lambda: len(servers(world)) == 2, 30, "both are servers")
    world.serves("m")
    texts = [""] * 32

    def stream(number: int) -> str:
        body = CHAT | {"stream": True, "max_tokens": 60, "messages": [{"role": "user", "content": str(number)}], "ignore_eos": True}
        try:
            with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=KEY, timeout=60) as answer:
                assert answer.status_code == 200
                for chunk in answer.iter_text():
                    texts[number] += chunk
        except httpx2.RemoteProtocolError:
            return "broken"
        return "done"

    with ThreadPoolExecutor(32) as pool:
        results = [pool.submit(stream, number) for number in range(16)]
        eventually(lambda: all(texts[:16]), 60, "16 streams have begun")
        results += [pool.submit(stream, number) for number in range(16, 32)]
        eventually(lambda: ongoing(world) >= 32, 60, "all are under way")
        world.replicas["a"].process.kill()
        outcomes = [result.result() for result in results]
    broken = {number for number in range(32) if outcomes[number] == "broken"}
    assert broken and all(texts[number] for number in broken), "only what had begun breaks off"
    assert all("[DONE]" in texts[number] for number in range(32) if number not in broken)
    assert len(broken) < 20
    assert ask(world).status_code == 200


def ongoing(world: World) -> int:
    page = httpx2.get(f"{world.url}/metrics", headers=KEY).text
    return int(sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("matrix_gateway_in_flight{")))


def test_a_killed_haproxy_is_back_within_a_second_and_knows_everything(world: World) -> None:
    world.add("a")
    world.serves("m")
    before = haproxy(world)
    kill(before)
    killed = time.monotonic()
    eventually(lambda: ask(world).status_code == 200, 30, "it answers again")
    seconds = time.monotonic() - killed
    print(f"answers {seconds:.2f} s after the kill")
    assert seconds < 15, "who only looks from time to time would not know"
    assert haproxy(world) != before and world.replicas["a"].process.poll() is None


def test_a_frozen_haproxy_is_noticed_and_told_and_goes_on(world: World) -> None:
    world.add("a")
    world.serves("m")
    pid = haproxy(world)
    os.kill(pid, signal.SIGSTOP)
    try:
        report = eventually(lambda: (now := world.report()) and not now.ready and now, 30, "it is noticed")
        assert "has not answered" in report.message and str(pid) in report.message
    finally:
        os.kill(pid, signal.SIGCONT)
    assert haproxy(world) == pid
    assert ask(world).status_code == 200


def test_what_was_changed_by_hand_is_put_right(world: World) -> None:
    replica = world.add("a")
    world.serves("m")
    name = next(iter(servers(world)))
    world.admin(f"set server least-0/{name} state maint")
    world.admin("add server least-0/stranger 127.0.0.1:1")
    models = next(line.split(" ", 1)[1].split(" ")[0] for line in world.admin("show map").splitlines() if "models.map" in line)
    models = models.strip("()")
    world.admin(f"clear map {models}")
    world.admin(f"add map {models} ghost least-0")
    eventually(lambda: servers(world) == {name: "0"}, 30, "the servers are as they were")
    assert name.endswith(replica.url.rpartition(":")[2])
    eventually(lambda: "ghost" not in world.admin(f"show map {models}"), 30, "the ghost is gone")
    assert ask(world).status_code == 200


def test_a_taken_port_is_told_and_tried_again(world: World) -> None:
    assert world.gateway is not None
    world.gateway.send_signal(signal.SIGTERM)
    world.gateway.wait(30)
    (world.home / "report.json").unlink()
    with closing(socket.create_server(("127.0.0.1", world.port))):
        world.start_gateway()
        report = eventually(lambda: (now := world.report()) and now.message and now, 30, "it is told")
        assert not report.ready and f"127.0.0.1:{world.port} is taken by another process" in report.message
    world.ready()


def test_nothing_is_left_when_the_gateway_is_killed_or_ends(world: World) -> None:
    process = psutil.Process(haproxy(world))
    assert world.gateway is not None
    world.gateway.kill()
    world.gateway.wait()
    assert psutil.wait_procs([process], timeout=30)[1] == []
    (world.home / "report.json").unlink()
    world.start_gateway()
    world.ready()
    assert len(list(world.home.glob("mx-gateway-*"))) == 1, "what the killed one left is cleared away"
    world.gateway.send_signal(signal.SIGTERM)
    assert world.gateway.wait(30) == 0
    assert list(world.home.glob("mx-gateway-*")) == []


def test_secrets_are_in_no_argv_and_in_no_file_that_others_can_read(world: World) -> None:
    process = psutil.Process(haproxy(world))
    token = KEY["Authorization"].removeprefix("Bearer ")
    assert token not in " ".join(process.cmdline()) and token not in " ".join(process.environ().values())
    directory = next(world.home.glob("mx-gateway-*"))
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir() if path.suffix in (".cfg", ".map"))
    assert token not in (world.home / "gateway.log").read_text()


def test_strangers_on_the_port_hurt_nobody(world: World) -> None:
    world.add("a", tokensPerSecond=1000)
    world.serves("m")
    noise = [
        os.urandom(2000),
        b"\x16\x03\x01" + bytes(300),
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 200_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(500),
    ]
    for piece in noise:
        answer = thrown_at(world, piece)
        assert answer[:1] in (b"", b"\x00") or answer.split()[1] in (b"400", b"401"), answer[:200]
    slow = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    started = time.monotonic()
    assert ask(world).status_code == 200
    assert time.monotonic() - started < 10
    assert eventually(lambda: slow[0].recv(4096), 30, "a head that does not end is refused").startswith(b"HTTP/1.1 408")
    for connection in slow:
        connection.close()


def thrown_at(world: World, piece: bytes) -> bytes:
    """What it answers to bytes that may be anything; nothing, when it breaks off."""
    with socket.create_connection(("127.0.0.1", world.port), timeout=30) as connection, suppress(OSError):
        connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)
    return b""


def test_a_slow_body_is_refused_in_words(world: World) -> None:
    world.add("a")
    world.serves("m")
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {KEY['Authorization']}\r\ncontent-length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"model"')
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive in time" in answer


def test_200_streams_at_once_with_slow_readers_among_them(world: World) -> None:
    world.add("a", tokensPerSecond=100)
    world.serves("m")
    body = CHAT | {"stream": True, "max_tokens": 30}

    def stream(number: int) -> bool:
        with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=KEY, timeout=120) as answer:
            text = ""
            for chunk in answer.iter_text():
                text += chunk
                if number % 20 == 0:
                    time.sleep(0.05)
        return answer.status_code == 200 and "[DONE]" in text

    with ThreadPoolExecutor(200) as pool:
        assert all(pool.map(stream, range(200)))


def test_who_leaves_takes_the_request_along(world: World) -> None:
    replica = world.add("a", tokensPerSecond=2)
    world.serves("m")
    body = CHAT | {"stream": True, "max_tokens": 100, "ignore_eos": True}
    with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=KEY, timeout=60) as answer:
        pieces = answer.iter_bytes()  # to drop it would end the stream
        next(pieces)
        eventually(lambda: running(replica.url) == 1, 20, "it is under way")
    eventually(lambda: running(replica.url) == 0, 20, "the replica has stopped, long before its answer would have ended")


def running(url: str) -> float:
    page = httpx2.get(f"{url}/metrics", headers=KEY).text
    found = [line for line in page.splitlines() if line.startswith("matrix_requests_in_flight{")]
    return sum(float(line.split()[-1]) for line in found)
