"""The port of an engine: what answers the requests for a model. It lives in the engine host, a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp

from matrix_crds.base import LenientModel
from matrix_crds.cluster import Resources
from matrix_crds.deployment import Engine as EngineSpec

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


class EngineSettings(LenientModel):
    """What an engine is made from."""

    engine: EngineSpec
    served_name: str
    source: str
    resources: Resources


class Engine(Protocol):
    """Called in this order. Errors are raised as they come; the replica puts them into plain words."""

    def prepare(self) -> None:
        """Imports what is needed and checks the arguments, before the model is there. Raises BadArguments."""
        ...

    async def load(self, model: Path | None) -> None:
        """Loads the model in that directory; None for an engine that needs none."""
        ...

    def app(self) -> ASGIApp:
        """OpenAI's HTTP API, without authentication."""
        ...

    async def check_health(self) -> None:
        """Raises when the engine is dead."""
        ...

    async def stop(self) -> None:
        """Ends what the engine has started."""
        ...
