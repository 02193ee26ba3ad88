"""The port of an engine: what answers the requests for a model. It lives in the engine host, a process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from starlette.types import ASGIApp

from matrix_crds.base import LenientModel
from matrix_crds.cluster import Resources
from matrix_crds.deployment import Engine as EngineSpec
from matrix_proto.state import Load

OFFERED_PATHS = frozenset(
    {
        "/classify",
        "/detokenize",
        "/metrics",
        "/pooling",
        "/rerank",
        "/score",
        "/tokenize",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/rerank",
        "/v1/responses",
        "/v1/score",
        "/v2/rerank",
        "/version",
    }
)
"""What callers may reach with the client token. Everything else of an engine's app (loading adapters, sleeping, scaling, profiling,
docs, ...) is out of reach from outside."""
HEALTH_PATH = "/health"
"""Open to anyone: it says that the process answers, and nothing more."""

Body = dict[str, Any]
"""OpenAI's request object."""


class Api(StrEnum):
    """What is asked of a model."""

    CHAT = "chat"
    COMPLETE = "complete"
    EMBED = "embed"


class Usage(NamedTuple):
    """Tokens of one request."""

    prompt: int
    completion: int


Choice = tuple[int, str, str | None]
"""One of the answers, or the next piece of it: its index, the text, and why it has ended."""


class Piece(NamedTuple):
    """An answer, or the next piece of one. `json`: OpenAI's whole object as the engine wrote it."""

    json: bytes
    choices: Sequence[Choice]
    usage: Usage | None


class Vectors(NamedTuple):
    """An answer to EMBED: one vector for each input, in their order. `json`: OpenAI's object without `data`."""

    json: bytes
    values: Sequence[Sequence[float]]
    usage: Usage | None


class ModelCard(NamedTuple):
    """A name that requests may carry; `max_length` in tokens of prompt and answer together."""

    id: str
    max_length: int | None


class TokenMeter(Protocol):
    """Where an engine tells what it has done, whatever the transport. Called from the event loop; must be cheap."""

    def first_token(self, seconds: float) -> None:
        """A request waited so long for its first token."""
        ...

    def inter_token(self, seconds: float, times: int = 1) -> None:
        """So long between two tokens of an answer, so many times."""
        ...

    def tokens(self, prompt: int, completion: int) -> None:
        """So many tokens were read and written."""
        ...


class EngineSettings(LenientModel):
    """What an engine is made from."""

    engine: EngineSpec
    served_name: str
    source: str
    resources: Resources


class Engine(Protocol):
    """Called in this order. Errors of a start are raised as they come; the replica puts them into plain words."""

    def prepare(self) -> None:
        """Imports what is needed and checks the arguments, before the model is there. Raises BadArguments."""
        ...

    async def load(self, model: Path | None, meter: TokenMeter) -> None:
        """Loads the model in that directory; None for an engine that needs none."""
        ...

    def app(self) -> ASGIApp:
        """OpenAI's HTTP API, without authentication."""
        ...

    async def whole(self, api: Api, body: Body) -> Piece:
        """The whole answer to CHAT or COMPLETE. Raises ApiError. Cancelling it frees what it holds in the engine."""
        ...

    def stream(self, api: Api, body: Body) -> AsyncGenerator[Piece]:
        """The answer piece by piece, as they come. Raises ApiError. Closing it frees what it holds in the engine."""
        ...

    async def embed(self, body: Body) -> Vectors:
        """The vectors of an input. Raises ApiError."""
        ...

    def models(self) -> Sequence[ModelCard]:
        """The names that are served."""
        ...

    def busy(self) -> Load:
        """How busy the engine is; `ongoing` is not its to tell."""
        ...

    async def failed(self) -> Exception:
        """Returns when the engine has died, at once: why."""
        ...

    async def stop(self) -> None:
        """Ends what the engine has started."""
        ...
