"""What users import: `Matrix` (and its async twin) on either store. Light to import: everything is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matrix_client.answers import ChatAnswer as ChatAnswer
    from matrix_client.answers import ChatDelta as ChatDelta
    from matrix_client.answers import CompleteAnswer as CompleteAnswer
    from matrix_client.answers import CompleteDelta as CompleteDelta
    from matrix_client.answers import EmbedAnswer as EmbedAnswer
    from matrix_client.async_client import AsyncMatrix as AsyncMatrix
    from matrix_client.sync_client import Matrix as Matrix
    from matrix_client.wait import Progress as Progress
    from matrix_crds.cluster import MatrixCluster as MatrixCluster
    from matrix_crds.deployment import ModelDeployment as ModelDeployment

_HOME = {
    "AsyncMatrix": "matrix_client.async_client",
    "ChatAnswer": "matrix_client.answers",
    "ChatDelta": "matrix_client.answers",
    "CompleteAnswer": "matrix_client.answers",
    "CompleteDelta": "matrix_client.answers",
    "EmbedAnswer": "matrix_client.answers",
    "Matrix": "matrix_client.sync_client",
    "MatrixCluster": "matrix_crds.cluster",
    "ModelDeployment": "matrix_crds.deployment",
    "Progress": "matrix_client.wait",
}

__all__ = [
    "AsyncMatrix",
    "ChatAnswer",
    "ChatDelta",
    "CompleteAnswer",
    "CompleteDelta",
    "EmbedAnswer",
    "Matrix",
    "MatrixCluster",
    "ModelDeployment",
    "Progress",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
