"""The parts of the context `kubernetes` that need no cluster."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from matrix_client import kubernetes_operator
from matrix_client.context import Way
from matrix_client.errors import NotReady, UsageError
from matrix_client.fleet import Fleet
from matrix_client.kubernetes_context import KubernetesContext, published
from matrix_client.kubernetes_operator import Operator, find_operator
from matrix_client.mirror import MOST_WATCHES, mirroring
from matrix_proto.errors import MODEL_HEADER
from matrix_store.port import StoredObject
from tests.unit.client.worlds import LAB, manifest, ready
from tests.unit.store.kubernetes.server import api, listed, status


def lease(seconds: float, holder: str = "op-1", version: int = 1) -> dict[str, Any]:
    renewed = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    metadata = {"namespace": "system", "name": "matrix-operator", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"holderIdentity": holder, "renewTime": renewed}}


def found(*answers: httpx2.Response) -> Operator | None:
    left = list(answers)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.params["fieldSelector"] == "metadata.name=matrix-operator"
        return left.pop(0)

    return asyncio.run(find_operator(api(answer), "team"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_operator, "LOOK_AGAIN_SECONDS", 0.0)


def test_an_operator_is_there_when_its_lease_is_fresh_or_moves() -> None:
    assert found(listed(1, lease(2))) == Operator(True, "op-1 in namespace system", "op-1")
    moved = found(listed(1, lease(3600)), listed(1, lease(3600, version=2)))  # a clock that is an hour off
    assert moved == Operator(True, "op-1 in namespace system", "op-1")


def test_the_machine_of_the_one_that_runs_is_known() -> None:
    running = found(listed(1, lease(2, holder="my_host_4711_0a1b2c3d")))
    assert running is not None
    assert running.host == "my_host"


def test_why_there_is_none_is_said() -> None:
    absent = found(listed(1))
    ended = found(listed(1, lease(2, holder="")), listed(1, lease(2, holder="")))
    silent = found(listed(1, lease(600)), listed(1, lease(600)))
    assert absent and not absent.running and "no operator is installed" in absent.words
    assert ended and not ended.running and "was stopped" in ended.words
    assert silent and not silent.running and "op-1 in namespace system has not renewed" in silent.words


def test_what_can_t_be_seen_is_neither_there_nor_gone() -> None:
    forbidden = status(403, "Forbidden", "no")
    assert found(status(500, "", "broken")) is None
    assert found(forbidden, forbidden) is None
    assert found(forbidden, listed(1)) is None
    assert found(forbidden, listed(1, lease(2))) == Operator(True, "op-1 in namespace system", "op-1")


async def _kubernetes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection to an API server that has nothing: each watch is silent and goes on, a list is answered."""
    body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()
    with suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            how = b"Transfer-Encoding: chunked" if b"watch=true" in head else b"Content-Length: %d" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\n" + how + b"\r\n\r\n" + (b"" if b"watch=true" in head else body))
    writer.close()


def test_while_many_namespaces_are_watched_there_is_room_for_calls(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(_kubernetes, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        config = tmp_path / "config"
        config.write_text(yaml.safe_dump({
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab"}}],
            "clusters": [{"name": "lab", "cluster": {"server": f"http://{host}:{port}"}}],
        }))  # fmt: skip
        context = KubernetesContext(kubeconfig=config)
        store = await context.store()
        namespaces = [f"n{number}" for number in range(MOST_WATCHES // 2)]
        async with mirroring(store, ["MatrixCluster", "ModelDeployment"], namespaces):
            await asyncio.sleep(0.5)  # for the watches, which begin after the lists
            assert await store.list("MatrixCluster", "team") == []
        await context.close()
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_an_endpoint_is_found_by_its_name() -> None:
    without = StoredObject(manifest(LAB, uid="u") | {"status": ready()})
    cluster = StoredObject(manifest(LAB, uid="u") | {"status": ready(endpoints=[{"name": "openai", "url": "http://a/v1"}])})
    assert published(cluster, "openai") == "http://a/v1"
    with pytest.raises(UsageError, match="no endpoint 'shell'; there is openai"):
        published(cluster, "shell")
    with pytest.raises(NotReady, match="no addresses yet"):
        published(without, "openai")


def test_a_token_that_was_refused_is_asked_for_once_by_all() -> None:
    async def work() -> None:
        asked = 0

        async def token() -> str:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)
            return f"token-{asked}"

        fleet = Fleet(Way("127.0.0.1:1", "127.0.0.1:2"), token)
        await fleet.watch.close()
        first = dict(await fleet.metadata(1, "chat"))  # type: ignore[arg-type]
        before, used = asked, fleet.token
        assert await asyncio.gather(*(fleet.renew_token(used) for _ in range(20))) == [True] * 20
        assert asked == before + 1
        assert first["authorization"] == f"Bearer {used}" and first[MODEL_HEADER] == "chat"
        assert dict(await fleet.metadata(1, "chat"))["authorization"] == f"Bearer {fleet.token}"  # type: ignore[arg-type]
        await fleet.close()

    asyncio.run(work())
