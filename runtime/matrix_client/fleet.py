"""One cluster's replicas as a client has them: who is there, who takes the next request, and the connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import grpc.aio

from matrix_client.channels import Line
from matrix_client.context import Way
from matrix_client.directory_watch import DirectoryWatch, KnownReplica
from matrix_client.picker import Candidate, Picker
from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import ATTEMPT_KEY, MODEL_HEADER

PROBE_SECONDS = 2.0
_GATEWAY = "the gateway"
"""What stands in the place of a replica's id when all of them are reached through it."""
_NO_SIGN_OF_LIFE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class Fleet:
    """Begins to watch the directory when it is made: to be made in the loop that uses it, and closed there."""

    def __init__(self, way: Way, token: Callable[[], Awaitable[str]], picker: Picker | None = None) -> None:
        """`token` is asked on first use, and again when its answer is refused."""
        self.picker = picker or Picker()
        self.watch = DirectoryWatch(way.directory, self._token_for_the_watch, self._changed)
        self._gateway = way.gateway
        self._ask_token = token
        self._asking = asyncio.Lock()
        self._token = ""
        self._first: dict[str, grpc.aio.Metadata] = {}
        self._lines: dict[str, Line] = {}
        self._arrivals: dict[tuple[str, str], asyncio.Event] = {}
        """By application and served name."""
        self._probes: dict[str, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keep(self.watch.run())

    def line(self, candidate: Candidate) -> Line:
        """The connection to a replica."""
        replica = candidate.replica
        id_, address = (_GATEWAY, self._gateway) if self._gateway else (replica.id, replica.grpc_address)
        line = self._lines.get(id_)
        if line is None or line.address != address:
            if line is not None:
                self._keep(line.close())
            line = self._lines[id_] = Line(address)
        return line

    async def metadata(self, attempt: int, model: str) -> grpc.aio.Metadata:
        """What goes with a request. Raises what asking for the token raises."""
        if not self._token:
            await self.renew_token("")
        if attempt > 1:
            return self._metadata(attempt, model)
        first = self._first.get(model)
        if first is None:  # made once: gRPC would make one of each request's tuples
            first = self._first[model] = self._metadata(1, model)
        return first

    @property
    def token(self) -> str:
        """The one that is used now."""
        return self._token

    async def renew_token(self, refused: str) -> bool:
        """Asks for the token again, once for all whose requests were refused; whether it is another one than `refused`. Raises what
        asking for it raises."""
        async with self._asking:
            if self._token == refused:
                self._token = await self._ask_token()
                self._first.clear()
        return self._token != refused

    async def arrival(self, application: str, model: str, seconds: float) -> bool:
        """Until there is a replica to use, of that served name if one is given; False after so many seconds without."""
        event = self._arrivals.setdefault((application, model), asyncio.Event())
        if self.picker.has(application, model):
            event.set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

    async def sound(self, candidate: Candidate) -> bool:
        """Whether a doubtful replica gives a sign of life. All who ask at once share one probe."""
        id_ = candidate.replica.id
        if id_ not in self._probes:
            self._probes[id_] = probe = self._keep(self._probe(candidate))
            probe.add_done_callback(lambda _: self._probes.pop(id_))
        return bool(await asyncio.shield(self._probes[id_]))

    def release(self, candidate: Candidate) -> None:
        """See Picker.release."""
        self.picker.release(candidate)
        if candidate.gone and not candidate.reserved and not self.picker.knows(candidate.replica.id):
            self._hang_up(candidate.replica.id)

    async def retire(self) -> None:
        """Ends the watch; what is under way comes to its end."""
        await self.watch.close()
        self._let_go({})

    async def close(self) -> None:
        """Ends the watch and the connections."""
        await self.watch.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines.values():
            await line.close()
        self._lines.clear()

    def _metadata(self, attempt: int, model: str) -> grpc.aio.Metadata:
        named = ((MODEL_HEADER, model),) if self._gateway else ()  # a replica looks into the request
        return grpc.aio.Metadata(("authorization", f"Bearer {self._token}"), (ATTEMPT_KEY, str(attempt)), *named)

    async def _token_for_the_watch(self) -> str:
        """A new one each time, since the last may have been refused; while it can't be had, the one that is known."""
        try:
            await self.renew_token(self._token)
        except Exception:
            if not self._token:
                raise
        return self._token

    async def _probe(self, candidate: Candidate) -> bool:
        try:
            metadata = await self.metadata(1, candidate.replica.model)
            await self.line(candidate).models(pb.ModelsRequest(), timeout=PROBE_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() in _NO_SIGN_OF_LIFE:
                self.picker.distrust(candidate)
                return False
        self.picker.vouch(candidate)  # even if it refuses: the request itself will hear why
        return True

    def _changed(self) -> None:
        self._let_go(self.watch.replicas)
        for (application, model), event in self._arrivals.items():
            if self.picker.has(application, model):
                event.set()
            else:
                event.clear()

    def _let_go(self, replicas: Mapping[str, KnownReplica]) -> None:
        for candidate in self.picker.update(replicas):
            if not candidate.reserved:  # a request that is still under way there may well come to its end
                self._hang_up(candidate.replica.id)

    def _hang_up(self, id_: str) -> None:
        line = self._lines.pop(id_, None)
        if line is not None:
            self._keep(line.close())

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
