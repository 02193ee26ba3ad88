"""What gRPC's Python layer carries at most: a stream of bare bytes over TLS between two processes, with the tunnel's own settings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import grpc
import grpc.aio

from matrix_operator.hub.certificates import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE
from matrix_proto.tunnel import BLOCK_BYTES, OPTIONS

METHOD = "/bench.Bare/Get"


async def serve(tls: Path) -> None:
    """Prints its port; ends with its standard input."""

    async def get(asked: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        block = bytes(BLOCK_BYTES)
        for _ in range(int(asked) // BLOCK_BYTES):
            await context.write(block)

    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Bare", {"Get": grpc.unary_stream_rpc_method_handler(get)}),)
    )
    pair = ((tls / KEY_FILE).read_bytes(), (tls / CERTIFICATE_FILE).read_bytes())
    print(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair])), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)


async def _measure(tls: Path, port: str, count: int, runs: int) -> list[float]:
    credentials = grpc.ssl_channel_credentials((tls / AUTHORITY_FILE).read_bytes())
    rates = []
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, OPTIONS) as channel:
        get: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(METHOD)
        for _ in range(runs):
            began, call = time.perf_counter(), get(str(count).encode())
            received = 0
            while isinstance(data := await call.read(), bytes):
                received += len(data)
            rates.append(received / (time.perf_counter() - began) / 1e6)
    return rates


def bare(tls: Path, count: int, runs: int) -> tuple[float, ...]:
    """MB/s of each run."""
    command = [sys.executable, "-m", "bench.slurm_tunnel_bare", str(tls)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        try:
            return tuple(asyncio.run(_measure(tls, server.stdout.readline().strip(), count, runs)))
        finally:
            server.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
