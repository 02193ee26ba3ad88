"""A stand-in for Ray's dashboard and for the directory, over real HTTP: accepts Serve configurations and makes every replica ready."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

SINCE = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


class FakeRay:
    """State that tests read and steer. Under /<name>/ it stands in for further clusters, each with a state of its own.
    `refuse` names applications that get a 400, `refuse_entry` is one exact entry that does;
    `broken` answers everything of Ray's with it; `failing` names applications and up to which attempt their start fails."""

    def __init__(self) -> None:
        self.applications: dict[str, dict[str, Any]] = {}
        self.puts: list[dict[str, Any]] = []
        self.refuse: set[str] = set()
        self.refuse_entry: dict[str, Any] | None = None
        self.failing: dict[str, int] = {}
        self.broken: tuple[int, str] | None = None
        self.replica_failure: dict[str, Any] | None = None
        self.revision = 1
        self._news = asyncio.Event()
        """Set with the next revision, for those who wait for it."""
        self.url = ""
        self.children: dict[str, FakeRay] = {}
        self.addresses: Callable[[str], Sequence[str]] = lambda cluster: ("127.0.0.1",)
        """Of the nodes of each cluster, the head's first."""
        self.busy: set[str] = set()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._break])
        for prefix in ("", "/{cluster}"):
            app.router.add_get(prefix + "/api/version", self._version)
            app.router.add_get(prefix + "/api/v0/nodes", self._nodes)
            app.router.add_get(prefix + "/api/v0/actors", self._actors)
            app.router.add_get(prefix + "/api/serve/applications/", self._dispatch("_serve"))
            app.router.add_put(prefix + "/api/serve/applications/", self._dispatch("_put"))
            app.router.add_get(prefix + "/matrix/v1/state", self._dispatch("_state"))
        return app

    def _dispatch(self, name: str) -> Any:
        """A handler of the cluster that the path names."""

        async def handle(request: web.Request) -> web.StreamResponse:
            answer: web.StreamResponse = await getattr(self._of(request), name)(request)
            return answer

        return handle

    def _of(self, request: web.Request) -> FakeRay:
        """The cluster that the path names, made when it is first asked for; without a name this one."""
        name = request.match_info.get("cluster")
        return self.children.setdefault(name, FakeRay()) if name else self

    @web.middleware
    async def _break(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.broken and "/api/" in request.path:
            status, text = self.broken
            return web.Response(status=status, text=text)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "session_name": "session_1"})

    async def _nodes(self, request: web.Request) -> web.Response:
        addresses = self.addresses(request.match_info.get("cluster", ""))
        nodes = [_node(f"n{number}", address, is_head=number == 1) for number, address in enumerate(addresses, 1)]
        return web.json_response({"result": True, "data": {"result": {"total": len(nodes), "result": nodes}}})

    async def _actors(self, request: web.Request) -> web.Response:
        """One lives on each node of `busy`, by its address."""
        addresses = self.addresses(request.match_info.get("cluster", ""))
        actors = [{"node_id": f"n{number}"} for number, address in enumerate(addresses, 1) if address in self.busy]
        return web.json_response({"result": True, "data": {"result": {"total": len(actors), "result": actors}}})

    async def _serve(self, request: web.Request) -> web.Response:
        applications = {
            name: {
                "name": name,
                "status": "DEPLOY_FAILED" if self._fails(name, entry) else "RUNNING",
                "message": "",
                "deployed_app_config": entry,
                "deployments": {},
            }
            for name, entry in self.applications.items()
        }
        return web.json_response({"proxy_location": "Disabled", "applications": applications})

    async def _put(self, request: web.Request) -> web.Response:
        config = await request.json()
        self.puts.append(config)
        bad = [entry["name"] for entry in config["applications"] if entry["name"] in self.refuse or entry == self.refuse_entry]
        if bad:
            return web.Response(status=400, text=f"ValueError: {bad[0]} is not what Serve likes")
        self.applications = {entry["name"]: entry for entry in config["applications"]}
        self.revision += 1
        self._news.set()
        self._news = asyncio.Event()
        return web.json_response({})

    async def _state(self, request: web.Request) -> web.Response:
        if request.query.get("since") == str(self.revision) and request.query.get("instance") == "i":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query.get("wait", 0))):
                    await self._news.wait()
        if "mx-system" not in self.applications:
            return web.Response(status=503)
        replicas = [self._replica(name, entry) for name, entry in self.applications.items() if name.startswith("mx-md-")]
        return web.json_response(
            {
                "runtimeVersion": "0.1.0",
                "rayVersion": "2.60.0",
                "instance": "i",
                "revision": self.revision,
                "replicas": replicas,
                "gateway": {"ready": True},
            }
        )

    def _fails(self, name: str, entry: dict[str, Any]) -> bool:
        return _attempt(entry) <= self.failing.get(name, 0)

    def _replica(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        replica = {
            "id": f"{name}-r1",
            "application": name,
            "model": entry["args"]["servedName"],
            "attempt": _attempt(entry),
            "version": entry["args"]["version"],
            "state": "Ready",
            "since": datetime.now(UTC).isoformat() if self._fails(name, entry) else SINCE,
            "pid": 1,
            "httpUrl": "http://127.0.0.1:1",
        }
        if self._fails(name, entry):
            replica |= {"state": "Failed", "httpUrl": None, "failure": self.replica_failure}
        return replica


def _node(node_id: str, address: str, *, is_head: bool) -> dict[str, Any]:
    resources = {"CPU": 4.0, "memory": 8 * 2.0**30}
    return {"node_id": node_id, "state": "ALIVE", "is_head_node": is_head, "node_ip": address, "resources_total": resources}


def _attempt(entry: dict[str, Any]) -> int:
    deployments = entry.get("deployments") or [{"user_config": {"attempt": 1}}]
    return int(deployments[0]["user_config"].get("attempt", 1))


@contextmanager
def serve(ray: FakeRay) -> Iterator[FakeRay]:
    """Run it on a free port in a thread of its own."""
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(ray.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ray.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield ray
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)


if __name__ == "__main__":
    with serve(FakeRay()) as running:
        print(running.url, flush=True)
        threading.Event().wait()
