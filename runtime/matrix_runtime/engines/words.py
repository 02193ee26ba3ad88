"""From an HTTP status and an engine's words to an ErrorReason. The texts are those of vLLM 0.32."""

from __future__ import annotations

import re

from matrix_proto.errors import ErrorReason
from matrix_runtime.errors import ApiError

_TOO_LONG = re.compile(
    r"maximum context length|exceeds model's maximum|longer than the maximum model length|maximum model length of|context_length_exceeded"
)
_BY_STATUS = {
    401: ErrorReason.UNAUTHENTICATED,
    404: ErrorReason.UNKNOWN_MODEL,
    405: ErrorReason.NOT_OFFERED,
    413: ErrorReason.TOO_LARGE,
    429: ErrorReason.RATE_LIMITED,
    501: ErrorReason.NOT_OFFERED,
    504: ErrorReason.DEADLINE,
}

ENGINE_DIED = ApiError(ErrorReason.ENGINE_FAILED, "the engine has died; another replica is being started, ask again")


def reason_of(status: int, words: str) -> ErrorReason:
    """Why an engine refused or failed."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return ErrorReason.ENGINE_FAILED
    return ErrorReason.CONTEXT_TOO_LONG if _TOO_LONG.search(words) else ErrorReason.BAD_REQUEST
