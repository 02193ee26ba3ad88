"""A laboratory for requests: a state directory, a fake directory and fake replicas, all in the loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from matrix_client import AsyncMatrix, ChatDelta
from tests.unit.client.directory import TOKEN, FakeDirectory
from tests.unit.client.directory import replica as known
from tests.unit.client.replica import Replica, endpoint
from tests.unit.client.worlds import CHAT, LAB, World, ready


@dataclass
class Lab:
    world: World
    directory: FakeDirectory
    matrix: AsyncMatrix
    stack: AsyncExitStack
    replicas: list[Replica] = field(default_factory=list)

    async def add(self, *, seen: bool = True, **options: Any) -> Replica:
        """One more replica, `seen` by the directory. `options` go to known()."""
        replica = await self.stack.enter_async_context(Replica(f"r{len(self.replicas)}"))
        self.replicas.append(replica)
        if seen:
            self.tell(replica, **options)
        return replica

    def tell(self, replica: Replica, **options: Any) -> None:
        """The directory tells of it."""
        self.directory.put(known(replica.id, replica.address, **options))

    @property
    def asked(self) -> list[int]:
        """How many requests each replica has had."""
        return [len(replica.requests) for replica in self.replicas]


@asynccontextmanager
async def laboratory(world: World, replicas: int = 1) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(FakeDirectory())
        await asyncio.to_thread(world.put, LAB, endpoint(directory))
        if not (world.home.cluster(_uid(world)) / "secrets").exists():
            world.client_token(LAB, TOKEN + "\n")
        await asyncio.to_thread(world.put, CHAT, ready())
        matrix = await stack.enter_async_context(AsyncMatrix(home=world.home.root))
        lab = Lab(world, directory, matrix, stack)
        for _ in range(replicas):
            await lab.add()
        yield lab


def _uid(world: World) -> str:
    stored = world.find(LAB)
    assert stored is not None
    return stored.uid


Work = Callable[[Lab], Awaitable[Any]]


def in_lab(world: World, work: Work, replicas: int = 1) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(120), laboratory(world, replicas) as lab:
            return await work(lab)

    return asyncio.run(run())


async def streamed(lab: Lab, model: str = "chat", **params: Any) -> list[ChatDelta]:
    return [delta async for delta in await lab.matrix.chat(model, "hello", stream=True, **params)]


async def ask_both(lab: Lab, **params: Any) -> None:
    """Once whole and once as a stream; both must bring the whole answer."""
    assert str(await lab.matrix.chat("chat", "hello", **params)) == "one two three"
    assert "".join(delta.text for delta in await streamed(lab, **params)) == "one two three"


async def both_raise(lab: Lab, kind: type[Exception], words: str, model: str = "chat", **params: Any) -> Exception:
    with pytest.raises(kind, match=words):
        await streamed(lab, model, **params)
    with pytest.raises(kind, match=words) as raised:
        await lab.matrix.chat(model, "hello", **params)
    return raised.value
