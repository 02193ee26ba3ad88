"""How a refusal travels: the trailing metadata of a gRPC error, and the header of an HTTP one. Light: no third-party import."""

from __future__ import annotations

from enum import StrEnum

REASON_KEY = "matrix-reason"
"""Trailing metadata and HTTP header: an ErrorReason."""
RETRYABLE_KEY = "matrix-retryable"
""""1": the same request may succeed on another replica, or a moment later; "0": it will not."""
ATTEMPT_KEY = "matrix-attempt"
"""Request metadata and header: the how-manieth try this is, from "1"; counted as a retry from "2" on."""
TOKEN_HEADER = "x-matrix-authorization"
"""Request header: a token like that of `authorization`, for ways on which that header does not arrive, as through the proxy of a Kubernetes
API server. Where both are there this one counts, and the other is not looked at: it is for whoever stands between."""
MODEL_HEADER = "x-matrix-model"
"""Request header: the model's name, for the gateway, when the body is too large to look for it."""


class ErrorReason(StrEnum):
    """Why a request was not answered. Names are stable."""

    BAD_REQUEST = "BadRequest"
    CONTEXT_TOO_LONG = "ContextTooLong"
    TOO_LARGE = "TooLarge"
    UNAUTHENTICATED = "Unauthenticated"
    UNKNOWN_MODEL = "UnknownModel"
    NOT_OFFERED = "NotOffered"
    RATE_LIMITED = "RateLimited"
    DRAINING = "Draining"
    NOT_READY = "NotReady"
    BROKE_OFF = "BrokeOff"
    DEADLINE = "Deadline"
    ENGINE_FAILED = "EngineFailed"

    @property
    def retryable(self) -> bool:
        """Whether another replica, or a later moment, may answer the same request."""
        return self in _RETRYABLE

    @property
    def http_status(self) -> int:
        return _HTTP_STATUS[self]

    @property
    def metadata(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """What is told beside the words: trailing metadata of gRPC, or headers of HTTP."""
        return (REASON_KEY, self.value), (RETRYABLE_KEY, "1" if self.retryable else "0")


_RETRYABLE = frozenset(
    {ErrorReason.RATE_LIMITED, ErrorReason.DRAINING, ErrorReason.NOT_READY, ErrorReason.BROKE_OFF, ErrorReason.ENGINE_FAILED}
)
_HTTP_STATUS = {
    ErrorReason.BAD_REQUEST: 400,
    ErrorReason.CONTEXT_TOO_LONG: 400,
    ErrorReason.TOO_LARGE: 413,
    ErrorReason.UNAUTHENTICATED: 401,
    ErrorReason.UNKNOWN_MODEL: 404,
    ErrorReason.NOT_OFFERED: 404,
    ErrorReason.RATE_LIMITED: 429,
    ErrorReason.DRAINING: 503,
    ErrorReason.NOT_READY: 503,
    ErrorReason.BROKE_OFF: 502,
    ErrorReason.DEADLINE: 504,
    ErrorReason.ENGINE_FAILED: 500,
}
