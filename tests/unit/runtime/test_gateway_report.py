"""The gateway's own reports, to a directory that is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from matrix_proto.state import Gateway
from matrix_runtime.gateway import report
from matrix_runtime.tokens import TokenFile

SECONDS = 20


def test_a_directory_that_never_ends_its_answer_does_not_end_the_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "POST_SECONDS", 0.2)
    (tmp_path / "ray-token").write_text("ray")

    async def run() -> None:
        calls, again = 0, asyncio.Event()

        async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Each byte comes before the reader's patience for one byte is over."""
            nonlocal calls
            calls += 1
            if calls == 2:
                again.set()
            with contextlib.suppress(ConnectionError):
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.01)
            writer.close()

        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            reporting = asyncio.create_task(report.GatewayReporter(url, TokenFile(tmp_path / "ray-token"), Gateway(ready=False)).run())
            reported_again = asyncio.create_task(again.wait())
            await asyncio.wait({reporting, reported_again}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert again.is_set() and not reporting.done()
            reporting.cancel()

    asyncio.run(run())
