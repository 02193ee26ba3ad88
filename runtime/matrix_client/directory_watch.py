"""The replicas of a cluster, kept current by one stream from its directory (directory.proto). The SDK and the gateway look at the same.

Silence is not absence: while the directory is away, and after a start of its own until it has settled, what was known before is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import grpc.aio

from matrix_client.channels import open_channel
from matrix_proto import directory_pb2 as pb
from matrix_proto.directory_pb2_grpc import DirectoryStub
from matrix_proto.state import Load, ReplicaState

SILENCE_SECONDS = 5.0
"""An update comes at least each second: after so long without one the directory, or the way to it, is frozen."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

_STATES = {
    pb.Replica.STARTING: ReplicaState.STARTING,
    pb.Replica.READY: ReplicaState.READY,
    pb.Replica.DRAINING: ReplicaState.DRAINING,
    pb.Replica.FAILED: ReplicaState.FAILED,
}


@dataclass(frozen=True)
class KnownReplica:
    """A replica as the directory told of it last."""

    id: str
    application: str
    """mx-md-<ModelDeployment name>."""
    model: str
    """The served name."""
    state: ReplicaState
    grpc_address: str
    """host:port of its Inference service; empty before it is ready."""
    http_url: str
    """Of its OpenAI HTTP app, without /v1; empty before it is ready."""
    suspect: bool
    """It missed three heartbeats: probe before use. Not gone."""
    load: Load


class Replicas:
    """What is known from the updates of one stream after the other. No I/O."""

    def __init__(self) -> None:
        self.known: Mapping[str, KnownReplica] = MappingProxyType({})
        """By id. Replaced, never changed: who holds it has a snapshot."""
        self.settled = False
        """Whether this stream has told of all there are."""
        self._told: set[str] = set()

    def begin(self) -> None:
        """A new stream: nothing of what is known is certain to be there, and nothing is forgotten yet."""
        self._told, self.settled = set(), False

    def take(self, update: pb.Update) -> bool:
        """Brings one update in; returns whether `known` differs now."""
        if update.full:
            self.begin()
        known = dict(self.known)
        for replica in update.replicas:
            known[replica.id] = _known(replica)
        self._told.update(replica.id for replica in update.replicas)
        self._told.difference_update(update.removed)
        gone: Iterable[str] = update.removed
        if update.settled and not self.settled:
            self.settled = True
            gone = known.keys() - self._told
        for id_ in list(gone):
            known.pop(id_, None)
        if known == self.known:
            return False
        self.known = MappingProxyType(known)
        return True


class DirectoryWatch:
    """Watches one directory for as long as `run` runs."""

    def __init__(self, address: str, token: Callable[[], str | Awaitable[str]], changed: Callable[[], None] = lambda: None) -> None:
        """`token` is asked before each connection: a file answers at once, an API later. `changed` is called when `replicas` (loads too)
        or `connected` has changed."""
        self.synced = asyncio.Event()
        """Set once everything is known that there is."""
        self._address = address
        self._token = token
        self._changed = changed
        self._replicas = Replicas()
        self._connected = False
        self._last_error = f"the directory at {address} has not answered yet"
        self._running: asyncio.Task[Any] | None = None

    @property
    def replicas(self) -> Mapping[str, KnownReplica]:
        """All that are known, by id, in any state: a snapshot."""
        return self._replicas.known

    @property
    def connected(self) -> bool:
        """Whether `replicas` follows the directory now."""
        return self._connected

    @property
    def last_error(self) -> str:
        """Why it is not connected, in words; empty when it is."""
        return self._last_error

    async def run(self) -> None:
        """For ever: connects, and connects again. Ends by being cancelled, or by `close`."""
        self._running = asyncio.current_task()
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._follow()
            except Exception as error:  # whatever it is, the next try may be better
                pause = FIRST_PAUSE_SECONDS if self._connected else min(pause * 2, LONGEST_PAUSE_SECONDS)
                self._lost(self._words(error))
            finally:
                self._connected = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def close(self) -> None:
        """Ends `run`, which is then cancelled."""
        if self._running is not None and self._running is not asyncio.current_task():
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _follow(self) -> None:
        """One stream, to its end, which is always an error."""
        token = self._token()
        metadata = (("authorization", f"Bearer {token if isinstance(token, str) else await token}"),)
        async with open_channel(self._address) as channel:  # a new one each time: the old connection may be half dead
            call = DirectoryStub(channel).Watch(  # type: ignore[no-untyped-call]
                pb.WatchRequest(), metadata=metadata
            )
            self._replicas.begin()
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    update = await call.read()
                if update is grpc.aio.EOF:
                    raise ConnectionError("it ended the stream")
                self._take(update)

    def _take(self, update: pb.Update) -> None:
        different = self._replicas.take(update) or not self._connected
        self._connected, self._last_error = True, ""
        if self._replicas.settled:
            self.synced.set()
        if different:
            self._changed()

    def _lost(self, words: str) -> None:
        was, self._connected, self._last_error = self._connected, False, words
        if was:
            self._changed()

    def _words(self, error: Exception) -> str:
        where = f"the directory at {self._address}"
        if isinstance(error, TimeoutError):
            return f"{where} has said nothing for {SILENCE_SECONDS:g} s"
        if not isinstance(error, grpc.aio.AioRpcError):
            return f"{where}: {error}"
        told = " ".join((error.details() or "").split())
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return f"{where} refuses the client token: {told}"
        return f"{where} can't be reached ({error.code().name}: {told})"


def _known(replica: pb.Replica) -> KnownReplica:
    load = Load(ongoing=replica.load.ongoing, waiting=replica.load.waiting, cache_use=replica.load.cache_use)
    return KnownReplica(
        id=replica.id,
        application=replica.application,
        model=replica.model,
        state=_STATES.get(replica.state, ReplicaState.STARTING),  # a state that this version does not know is not one to send requests to
        grpc_address=replica.grpc_address,
        http_url=replica.http_url,
        suspect=replica.suspect,
        load=load,
    )
