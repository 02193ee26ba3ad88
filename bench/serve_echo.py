"""What the gateway's bench compares with: Ray Serve's own HTTP proxy before replicas that answer at once: serve_echo.py PORT DIRECTORY.
Says "ready" when requests are answered, and ends with its input."""

from __future__ import annotations

import sys
from typing import Any

import ray
from ray import serve
from starlette.responses import Response

REPLICAS = 4
ANSWER = b'{"id": "x", "object": "chat.completion", "choices": []}'


@serve.deployment(num_replicas=REPLICAS, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=100)
class Echo:
    async def __call__(self, request: Any) -> Response:
        await request.body()
        return Response(ANSWER, media_type="application/json")


def main(port: int, directory: str) -> None:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000, _temp_dir=directory)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Echo.bind(), route_prefix="/")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
