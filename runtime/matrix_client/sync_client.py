"""`Matrix`: the client for ordinary scripts. Each call runs on an event loop in a thread of its own, so it also works in notebooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from matrix_client.async_client import PATIENCE_SECONDS, REQUEST_SECONDS, WAIT_SECONDS, AsyncMatrix
from matrix_client.context import LOCAL, Context
from matrix_client.wait import OnProgress
from matrix_store.port import Event

if TYPE_CHECKING:
    from matrix_client.answers import ChatAnswer, ChatDelta, CompleteAnswer, CompleteDelta, EmbedAnswer
    from matrix_client.async_client import Subject
    from matrix_client.questions import Messages, Prompt
    from matrix_crds.base import Resource

T = TypeVar("T")
R = TypeVar("R", bound="Resource")


GLANCE_SECONDS = 0.5
"""A Ctrl-C that comes just as Python is about to wait is not seen before the wait ends, so no wait is longer than this."""


class _Loop:
    """An event loop in a background thread. The caller's Ctrl-C cancels what runs there for it.

    No lock of Python's is shared with that thread: a Ctrl-C between the taking of one and its return would block the loop for ever
    (concurrent.futures has such places). A SimpleQueue is safe: it is made to be interrupted anywhere.
    """

    def __init__(self) -> None:
        self._loop = _new_loop()()
        self._thread = threading.Thread(target=self._loop.run_forever, name="matrix-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        started: list[asyncio.Task[T]] = []
        ended: SimpleQueue[asyncio.Task[T]] = SimpleQueue()

        def start() -> None:
            task = self._loop.create_task(work)
            task.add_done_callback(ended.put)
            started.append(task)

        def cancel() -> None:
            for task in started:
                task.cancel()
                task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else asks for it
            if not started:
                work.close()

        try:
            self._loop.call_soon_threadsafe(start)
            task = _taken(ended)
        except BaseException:  # Ctrl-C, or what another handler of a signal raises
            self._loop.call_soon_threadsafe(cancel)
            raise
        return task.result()

    def iterate(self, pieces: AsyncIterator[T]) -> Generator[T, None, None]:
        """The pieces one by one; the source is closed when the reader stops early."""
        reading = _Reading(pieces)
        try:
            while (piece := self.run(reading.next())) is not None:
                yield piece
        finally:
            self._end(reading.close())

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, but never wait for oneself: who collects garbage, and a forgotten reader with it, may be the loop's own thread."""
        if threading.current_thread() is self._thread:
            self._loop.create_task(work)
        else:
            self.run(work)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _taken(ended: SimpleQueue[T]) -> T:
    while True:
        with suppress(Empty):
            return ended.get(timeout=GLANCE_SECONDS)


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed: less CPU for each request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class _Reading(Generic[T]):
    """Pieces that another thread asks for one by one."""

    def __init__(self, pieces: AsyncIterator[T]) -> None:
        self._pieces = pieces
        self._asked: asyncio.Task[Any] | None = None

    async def next(self) -> T | None:
        self._asked = asyncio.current_task()
        return await anext(self._pieces, None)

    async def close(self) -> None:
        """Also while a piece is awaited, as a Ctrl-C leaves it: a generator that runs can't be closed."""
        if self._asked is not None and not self._asked.done():
            self._asked.cancel()
            await asyncio.wait([self._asked])
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


class Matrix:
    """A client of one store. Use as `with Matrix() as matrix:`, or call `close()`. Methods and errors are those of AsyncMatrix."""

    def __init__(
        self,
        context: str | Context = LOCAL,
        *,
        home: str | Path | None = None,
        namespace: str | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        """As AsyncMatrix; `on_wait` is called in another thread."""
        self._matrix = AsyncMatrix(context, home=home, namespace=namespace, on_wait=on_wait)
        self._loop = _Loop()

    @overload
    def apply(self, manifest: R) -> R: ...
    @overload
    def apply(self, manifest: Mapping[str, Any]) -> Resource: ...
    @overload
    def apply(self, manifest: str | Path) -> list[Resource]: ...
    def apply(self, manifest: Any) -> Any:
        """Create or change what a manifest declares: an object, its wire form, or a file (all of it or nothing). Starts the controller."""
        return self._loop.run(self._matrix.apply(manifest))

    @overload
    def get(self, kind: type[R], name: str) -> R: ...
    @overload
    def get(self, kind: str, name: str) -> Resource: ...
    def get(self, kind: Any, name: str) -> Any:
        """One object, as it is now. Raises NotFound."""
        return self._loop.run(self._matrix.get(kind, name))

    @overload
    def list(self, kind: type[R]) -> list[R]: ...
    @overload
    def list(self, kind: str) -> list[Resource]: ...
    def list(self, kind: Any) -> Any:
        """All of a kind in the namespace, by name."""
        return self._loop.run(self._matrix.list(kind))

    def wait(
        self,
        subject: Subject,
        for_: str = "condition=Ready",
        *,
        timeout: float | None = WAIT_SECONDS,
        on_progress: OnProgress | None = None,
    ) -> Resource | None:
        """Wait until `for_` holds: condition=TYPE, condition=TYPE=False, or delete. `on_progress` is called in another thread."""
        return self._loop.run(self._matrix.wait(subject, for_, timeout=timeout, on_progress=on_progress))

    def delete(
        self, subject: Subject, *, wait: bool = True, timeout: float | None = WAIT_SECONDS, on_progress: OnProgress | None = None
    ) -> None:
        """Delete an object and wait until it is confirmed that nothing of it is left. Raises NotFound, WaitTimeout."""
        self._loop.run(self._matrix.delete(subject, wait=wait, timeout=timeout, on_progress=on_progress))

    def events(self, subject: Subject | None = None) -> Sequence[Event]:
        """What happened to one object, or to all of the namespace; oldest first."""
        return self._loop.run(self._matrix.events(subject))

    @overload
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        timeout: float | None = ...,
        patience: float = ...,
        **params: Any,
    ) -> ChatAnswer: ...
    @overload
    def chat(
        self, model: str, messages: Messages, *, stream: Literal[True], timeout: float | None = ..., patience: float = ..., **params: Any
    ) -> Generator[ChatDelta, None, None]: ...
    def chat(self, model: str, messages: Messages, *, stream: bool = False, **params: Any) -> Any:
        """Ask a model, straight at a replica; see AsyncMatrix.chat. May be called from many threads at once."""
        if stream:
            return self._loop.iterate(self._loop.run(self._matrix.chat(model, messages, stream=True, **params)))
        return self._loop.run(self._matrix.chat(model, messages, **params))

    @overload
    def complete(
        self,
        model: str,
        prompt: Prompt,
        *,
        stream: Literal[False] = False,
        timeout: float | None = ...,
        patience: float = ...,
        **params: Any,
    ) -> CompleteAnswer: ...
    @overload
    def complete(
        self, model: str, prompt: Prompt, *, stream: Literal[True], timeout: float | None = ..., patience: float = ..., **params: Any
    ) -> Generator[CompleteDelta, None, None]: ...
    def complete(self, model: str, prompt: Prompt, *, stream: bool = False, **params: Any) -> Any:
        """Let a model go on with a text; see AsyncMatrix.complete."""
        if stream:
            return self._loop.iterate(self._loop.run(self._matrix.complete(model, prompt, stream=True, **params)))
        return self._loop.run(self._matrix.complete(model, prompt, **params))

    def embed(
        self, model: str, input: Prompt, *, timeout: float | None = REQUEST_SECONDS, patience: float = PATIENCE_SECONDS, **params: Any
    ) -> EmbedAnswer:
        """A vector for each input; see AsyncMatrix.embed."""
        return self._loop.run(self._matrix.embed(model, input, timeout=timeout, patience=patience, **params))

    def close(self) -> None:
        """Let go of the store, of open connections and of the thread."""
        self._loop.run(self._matrix.close())
        self._loop.close()

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
