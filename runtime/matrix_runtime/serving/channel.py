"""Between a replica and its engine host: JSON lines over a socket pair. The order of things:

    replica -> host   HostSpec
    host -> replica   Checked            the engine is imported and accepts its arguments
    replica -> host   Load               the model is there (meanwhile downloaded or converted)
    host -> replica   Ready              both servers answer
    host -> replica   Busy               each second, when it has changed
    replica -> host   Drain              take nothing new, finish what is in flight, end
    host -> replica   Failed             at any time; the host ends after it

Either side takes the end of the stream for the end of the other.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from matrix_crds.base import Model
from matrix_proto.state import FailureReason
from matrix_proto.state import Load as EngineLoad
from matrix_runtime.engines.port import EngineSettings


class HostSpec(Model):
    """All that the host needs to know."""

    settings: EngineSettings
    bind_host: str
    announced_host: str
    """Where others reach what binds `bind_host`."""
    token_file: str
    """Holds the client token."""


class Load(Model):
    """`model`: a directory; None for an engine without one."""

    model: str | None


class Checked(Model):
    kind: Literal["Checked"] = "Checked"


class Ready(Model):
    kind: Literal["Ready"] = "Ready"
    url: str
    """Of the HTTP server, without /v1."""
    grpc_address: str
    """host:port of the gRPC server."""


class Busy(Model):
    kind: Literal["Busy"] = "Busy"
    load: EngineLoad


class Drain(Model):
    """`seconds`: for the requests in flight; then they are ended with an error."""

    seconds: float


class Failed(Model):
    """`reason` is set where the host itself knows it; otherwise `error` (the exception, in words) and the output have to tell."""

    kind: Literal["Failed"] = "Failed"
    error: str
    reason: FailureReason | None = None


Event = Annotated[Checked | Ready | Busy | Failed, Field(discriminator="kind")]
EVENTS: TypeAdapter[Checked | Ready | Busy | Failed] = TypeAdapter(Event)

Message = TypeVar("Message", bound=Model)


def encode(message: Model) -> bytes:
    """One line."""
    return message.model_dump_json(by_alias=True).encode() + b"\n"


class HostChannel:
    """The host's end: blocking, since the host does one thing after the other until it is ready. Messages are short, so that a started one
    is there in a moment."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._file = self._socket.makefile("rwb")

    def receive(self, kind: type[Message]) -> Message:
        """The next message. Raises EOFError when the replica is gone."""
        line = self._file.readline()
        if not line:
            raise EOFError("the replica has ended")
        return kind.model_validate_json(line)

    async def received(self, kind: type[Message]) -> Message:
        """As `receive`, without holding up the loop."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._socket)
        return self.receive(kind)

    def send(self, message: Model) -> None:
        """Raises OSError when the replica is gone."""
        self._file.write(encode(message))
        self._file.flush()
