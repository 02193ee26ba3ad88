"""The pods of a namespace as an API server tells of them: a list, what their containers print, and programs run in them.

A program runs for real, on this machine, with a directory of its own in the place of Ray's logs. Logs are stamped and cut off by sinceTime
as a kubelet does it: to the second (k8s.io/kubernetes, pkg/kubelet/kuberuntime/logs).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from aiohttp import WSMsgType, web

from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.websocket import PROTOCOL

_SECOND = len("2026-01-01T00:00:00")


@dataclass(eq=False)
class FakePod:
    """With one container, which runs."""

    name: str
    container: str = "ray-worker"
    uid: str = field(default_factory=lambda: str(uuid4()))
    ended_before: bool = False
    """Whether its container was started again."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Of its container: when each was written, and what."""
    previous: list[str] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    """Instead of its container's output."""
    exec_refusal: tuple[int, str] | None = None
    """Instead of running anything."""
    complaint: str = ""
    """Of the kubelet's own, in the place of what is still to come."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[dict[str, str]] = field(default_factory=list)
    """The parameters of each call for its output."""
    runs: int = 0
    """Calls to run something in it."""
    breaks: asyncio.Event = field(default_factory=asyncio.Event)
    """What is open to it breaks."""

    def write(self, *texts: str, second: float = 0) -> None:
        """All at one time."""
        self.lines += [(f"2026-01-01T00:00:{second:012.9f}Z", text) for text in texts]
        self.changed.set()

    def cut(self) -> None:
        """The connections that are open now."""
        self.breaks.set()
        self.breaks = asyncio.Event()

    def raw(self) -> dict[str, Any]:
        status: dict[str, Any] = {"name": self.container, "state": {"running": {}}, "lastState": {}}
        if self.ended_before:
            status["lastState"] = {"terminated": {"exitCode": 1}}
        return {"metadata": {"name": self.name, "uid": self.uid}, "status": {"phase": "Running", "containerStatuses": [status]}}


class FakePods:
    """Made by `serving`."""

    def __init__(self, directory: Path, replaced: str) -> None:
        self.pods: dict[str, FakePod] = {}
        self.list_refusal: tuple[int, str] | None = None
        self.lists = 0
        self.most_at_once = 0
        """Programs that ran."""
        self._running = 0
        self._starts: Counter[str] = Counter()
        self._directory = directory
        self._replaced = replaced
        self.connection: Connection

    def add(self, name: str, **fields: Any) -> FakePod:
        self.pods[name] = FakePod(name, **fields)
        return self.pods[name]

    def files(self, pod: str) -> Path:
        """Ray's directory of logs in that pod."""
        latest = self._directory / pod / "latest"
        if not latest.exists():
            self.restart(pod)
        return latest

    def restart(self, pod: str) -> None:
        """Ray starts anew in that pod, and its logs."""
        self._starts[pod] += 1
        latest, session = self._directory / pod / "latest", self._directory / pod / f"session_{self._starts[pod]}"
        (session / "serve").mkdir(parents=True)
        latest.unlink(missing_ok=True)
        latest.symlink_to(session)

    async def list_(self, request: web.Request) -> web.Response:
        self.lists += 1
        if self.list_refusal is not None:
            return _refusal(*self.list_refusal)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [pod.raw() for pod in self.pods.values()]})

    async def log(self, request: web.Request) -> web.StreamResponse:
        pod, query = self.pods.get(request.match_info["pod"]), request.query
        if pod is None:
            return _refusal(404, f"pods {request.match_info['pod']!r} not found")
        pod.asked.append(dict(query))
        if pod.refusal is not None:
            return _refusal(*pod.refusal)
        if query.get("previous") == "true":
            if not pod.ended_before:
                return _refusal(400, f'previous terminated container "{pod.container}" in pod "{pod.name}" not found')
            return web.Response(text="".join(f"{line}\n" for line in pod.previous))
        answer, breaks, sent = web.StreamResponse(), pod.breaks, pod.lines
        await answer.prepare(request)
        due = [line for line in sent if line[0][:_SECOND] >= query.get("sinceTime", "")[:_SECOND]]
        if "tailLines" in query:
            due = due[len(due) - min(len(due), int(query["tailLines"])) :]
        position = len(sent)
        while True:
            for stamp, text in due:
                await answer.write((f"{stamp} {text}\n" if query.get("timestamps") == "true" else f"{text}\n").encode())
            if query.get("follow") == "true" and pod.complaint:
                await answer.write(f"{pod.complaint}\n".encode())
                return answer
            if query.get("follow") != "true" or pod.lines is not sent:
                return answer
            pod.changed.clear()
            await _first(pod.changed, breaks)
            if breaks.is_set():
                return _broken(request, answer)
            due, position = sent[position:], len(sent)

    async def exec_(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.get(request.match_info["pod"])
        if pod is None:
            return _refusal(404, "not found")
        pod.runs += 1
        if pod.exec_refusal is not None:
            return _refusal(*pod.exec_refusal)
        breaks, logs = pod.breaks, str(self.files(pod.name))
        socket = web.WebSocketResponse(protocols=(str(PROTOCOL),), compress=False)
        await socket.prepare(request)
        argv = [word.replace(self._replaced, logs) for word in request.query.getall("command")]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}
        program = await asyncio.create_subprocess_exec(*argv, **pipes)  # type: ignore[arg-type]
        assert program.stdin is not None and program.stdout is not None
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)

        async def print_() -> None:
            assert program.stdout is not None
            while data := await program.stdout.read(4096):
                await socket.send_bytes(b"\1" + data.replace(logs.encode(), self._replaced.encode()))

        async def leave() -> None:
            async for message in socket:
                assert message.type is WSMsgType.BINARY

        tasks = [asyncio.create_task(work) for work in (print_(), leave(), breaks.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            program.stdin.close()
            await program.wait()
            self._running -= 1
        if breaks.is_set():
            return _broken(request, socket)
        with suppress(ConnectionError):
            await socket.send_bytes(b'\3{"status": "Success"}')
        await socket.close()
        return socket


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _broken(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return answer


def _refusal(code: int, message: str) -> web.Response:
    reason = {400: "BadRequest", 403: "Forbidden", 404: "NotFound"}.get(code, "InternalError")
    status = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": {"name": "it", "kind": "pods"}}
    return web.json_response(status, status=code)


@asynccontextmanager
async def serving(directory: Path, replaced: str) -> AsyncIterator[FakePods]:
    """`replaced`: the path that stands for a pod's own directory in what is run."""
    fake = FakePods(directory, replaced)
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/team/pods", fake.list_)
    application.router.add_get("/api/v1/namespaces/team/pods/{pod}/log", fake.log)
    application.router.add_get("/api/v1/namespaces/team/pods/{pod}/exec", fake.exec_)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            fake.connection = Connection(http, url, "team")
            yield fake
    finally:
        await runner.cleanup()
