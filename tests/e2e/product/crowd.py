"""Many clients at once who ask one question after the other by streams: half by `Matrix().chat` over gRPC, half by the openai package
through the gateway. What became of every question is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType

import openai

from matrix_client import AsyncMatrix
from matrix_client.errors import RequestError
from matrix_store.home import Home
from tests.e2e.product.product import until

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Asked:
    """One question."""

    way: str
    at: float
    """When it was asked (time.monotonic())."""
    pieces: int
    seconds: float
    error: BaseException | None = None

    @property
    def lost(self) -> bool:
        """It failed before anything of the answer had come."""
        return self.error is not None and not self.pieces

    @property
    def broke(self) -> bool:
        """It failed in mid-answer."""
        return self.error is not None and self.pieces > 0


Ask = Callable[[str], AsyncIterator[None]]


class Crowd:
    """A context. `base_url` and `key`: the gateway's. `retries`: of the openai package, which it does before an answer begins."""

    def __init__(self, home: Home, model: str, base_url: str, key: str, size: int = 32, retries: int = 2) -> None:
        self.asked: list[Asked] = []
        self._home, self._model, self._size = home, model, size
        self._openai = {"base_url": base_url, "api_key": key, "max_retries": retries}
        self._stop = threading.Event()
        self._open = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd")

    def __enter__(self) -> Crowd:
        self._thread.start()
        until(lambda: {one.way for one in self.answered} == {"gRPC", "gateway"}, 60, lambda: f"no answers: {self.errors()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def answered(self) -> list[Asked]:
        return [one for one in self.asked if one.error is None]

    @property
    def lost(self) -> list[Asked]:
        return [one for one in self.asked if one.lost]

    @property
    def broken(self) -> list[Asked]:
        return [one for one in self.asked if one.broke]

    def errors(self) -> dict[str, int]:
        """What was said to those who got no whole answer, and to how many."""
        texts = [
            f"{one.way}, after {min(one.pieces, 1)} pieces: {type(one.error).__name__}: {one.error}" for one in self.asked if one.error
        ]
        return {text: texts.count(text) for text in dict.fromkeys(texts)}

    def go_on(self, ways: tuple[str, ...] = ("gRPC", "gateway"), seconds: float = 60) -> None:
        """Until everybody who is there now has asked again and each way has whole answers to questions of after this moment."""
        now = time.monotonic()
        answered = lambda: {one.way for one in self.answered if one.at > now}  # noqa: E731
        until(lambda: answered() >= set(ways), seconds, lambda: f"no new answers over {set(ways) - answered()}: {self.errors()}")

    def end(self) -> None:
        """Lets every question that was asked come to its end."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with AsyncMatrix(home=self._home.root) as matrix, openai.AsyncOpenAI(**self._openai) as client:  # type: ignore[arg-type]
            ways = {"gRPC": self._by_matrix(matrix), "gateway": self._by_openai(client)}
            await asyncio.gather(*(self._one(number, *list(ways.items())[number % 2]) for number in range(self._size)))

    async def _one(self, number: int, way: str, ask: Ask) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            began, pieces, failure = time.monotonic(), 0, None
            try:
                async for _ in ask(f"question {turn} of client {number}"):
                    pieces += 1
            except (RequestError, openai.OpenAIError, Exception) as error:
                failure = error
                await asyncio.sleep(0.05)
            self.asked.append(Asked(way, began, pieces, time.monotonic() - began, failure))

    def _by_matrix(self, matrix: AsyncMatrix) -> Ask:
        async def ask(question: str) -> AsyncIterator[None]:
            async for piece in await matrix.chat(self._model, question, stream=True, timeout=PATIENCE_SECONDS):
                if piece.text:
                    yield None

        return ask

    def _by_openai(self, client: openai.AsyncOpenAI) -> Ask:
        async def ask(question: str) -> AsyncIterator[None]:
            messages = [{"role": "user", "content": question}]
            finished = None
            stream = await client.chat.completions.create(
                model=self._model,
                messages=messages,  # type: ignore[arg-type]
                stream=True,
                timeout=PATIENCE_SECONDS,
            )
            async for chunk in stream:
                finished = chunk.choices[0].finish_reason if chunk.choices else finished
                if chunk.choices and chunk.choices[0].delta.content:
                    yield None
            if finished is None:
                raise openai.APIError("the stream ended without its last piece", request=stream.response.request, body=None)

        return ask
