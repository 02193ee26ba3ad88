"""One cluster's replicas as a client has them: who is there, who takes the next request, and the connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import grpc.aio

from matrix_client.channels import Line
from matrix_client.directory_watch import DirectoryWatch, KnownReplica
from matrix_client.picker import Candidate, Picker
from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import ATTEMPT_KEY

PROBE_SECONDS = 2.0
_NO_SIGN_OF_LIFE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class Fleet:
    """Begins to watch the directory when it is made: to be made in the loop that uses it, and closed there."""

    def __init__(self, address: str, token: Callable[[], str], picker: Picker | None = None) -> None:
        """`address`: host:port of the directory. `token` is read on first use, and again when it is refused."""
        self.address = address
        self.picker = picker or Picker()
        self.watch = DirectoryWatch(address, token, self._changed)
        self._read_token = token
        self._token = ""
        self._first = grpc.aio.Metadata()
        self._lines: dict[str, Line] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._probes: dict[str, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keep(self.watch.run())

    def line(self, candidate: Candidate) -> Line:
        """The connection to a replica."""
        replica = candidate.replica
        line = self._lines.get(replica.id)
        if line is None or line.address != replica.grpc_address:
            if line is not None:
                self._keep(line.close())
            line = self._lines[replica.id] = Line(replica.grpc_address)
        return line

    def metadata(self, attempt: int) -> grpc.aio.Metadata:
        """What goes with a request. Raises what reading the token raises."""
        if not self._token:
            self.read_token()
        return self._first if attempt == 1 else self._metadata(attempt)

    def read_token(self) -> bool:
        """Reads the token again; whether it is another one. Raises what reading it raises."""
        before, self._token = self._token, self._read_token()
        self._first = self._metadata(1)  # made once: gRPC would make one of each request's tuples
        return self._token != before

    async def arrival(self, application: str, seconds: float) -> bool:
        """Until there is a replica to use; False after so many seconds without."""
        event = self._arrivals.setdefault(application, asyncio.Event())
        if self.picker.has(application):
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

    def _metadata(self, attempt: int) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(("authorization", f"Bearer {self._token}"), (ATTEMPT_KEY, str(attempt)))

    async def _probe(self, candidate: Candidate) -> bool:
        try:
            await self.line(candidate).models(pb.ModelsRequest(), timeout=PROBE_SECONDS, metadata=self.metadata(1))
        except grpc.aio.AioRpcError as error:
            if error.code() in _NO_SIGN_OF_LIFE:
                self.picker.distrust(candidate)
                return False
        self.picker.vouch(candidate)  # even if it refuses: the request itself will hear why
        return True

    def _changed(self) -> None:
        self._let_go(self.watch.replicas)
        for application, event in self._arrivals.items():
            if self.picker.has(application):
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
