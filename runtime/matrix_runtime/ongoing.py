"""The requests in flight, over both transports: counted, refused while the replica drains, and ended when they must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from matrix_runtime.errors import ApiError

HTTP: Final = "http"
GRPC: Final = "grpc"
"""How a request came. (Plain texts: an enum's members take long to hash.)"""


class Request:
    """One request in flight: what `Ongoing.begin` returns. `code` is told when it ends: an HTTP status, or a gRPC status' name."""

    __slots__ = ("api", "code", "task", "transport")

    def __init__(self, api: str, transport: str, task: asyncio.Task[object] | None) -> None:
        self.api = api
        self.transport = transport
        self.task = task
        self.code = ""


class Ongoing:
    """All requests in flight. `begun` and `ended` are told of each, for the metrics."""

    def __init__(self, begun: Callable[[Request], None], ended: Callable[[Request], None]) -> None:
        self._begun = begun
        self._ended = ended
        self._requests: set[Request] = set()
        self._idle = asyncio.Event()
        self.refusal: ApiError | None = None
        """Set: a new request is refused with it."""
        self.ending: ApiError | None = None
        """Set: the requests in flight were cancelled by us, for this reason."""

    @property
    def count(self) -> int:
        """Accepted and not answered yet. A stream counts until its end."""
        return len(self._requests)

    def begin(self, api: str, transport: str) -> Request:
        """Counts the request that the current task answers; `end` must follow. Raises ApiError while none is taken."""
        if self.refusal is not None:
            raise self.refusal
        request = Request(api, transport, asyncio.current_task())
        self._requests.add(request)
        self._begun(request)
        return request

    def end(self, request: Request) -> None:
        """It was answered, or given up."""
        self._requests.discard(request)
        self._ended(request)
        if not self._requests:
            self._idle.set()

    def end_all(self, error: ApiError) -> None:
        """Cancels all that is in flight; each then tells its caller `ending`. New ones are refused."""
        self.refusal = self.refusal or error
        self.ending = error
        for request in self._requests:
            if request.task is not None:
                request.task.cancel()

    async def idle(self, seconds: float) -> bool:
        """Until nothing is in flight, at most so long. Returns whether nothing is."""
        try:
            async with asyncio.timeout(seconds):
                while self._requests:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def ended_by_us(self) -> ApiError | None:
        """To be called on a CancelledError: why we have cancelled the current task; None: somebody else has. In the first case the task may
        go on."""
        if self.ending is not None and (task := asyncio.current_task()) is not None:
            task.uncancel()
        return self.ending
