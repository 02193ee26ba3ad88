"""How the gateway says no: OpenAI's error form, with reason and retryable as headers. HAProxy and the side-car say it in the same words."""

from __future__ import annotations

import json
from dataclasses import dataclass

from matrix_proto.errors import ErrorReason
from matrix_runtime.auth import error_body

GRPC_STATUS = {
    ErrorReason.BAD_REQUEST: 3,
    ErrorReason.UNAUTHENTICATED: 16,
    ErrorReason.UNKNOWN_MODEL: 5,
    ErrorReason.NOT_OFFERED: 12,
    ErrorReason.RATE_LIMITED: 8,
    ErrorReason.NOT_READY: 14,
}
"""Codes of https://grpc.github.io/grpc/core/md_doc_statuscodes.html, for what the gateway itself refuses."""


@dataclass(frozen=True)
class Refusal:
    """One answer that is an error. `status` replaces the reason's own HTTP status; `retry_after` is in seconds."""

    reason: ErrorReason
    message: str
    status: int = 0
    retry_after: str = ""
    allow: str = ""

    @property
    def http_status(self) -> int:
        return self.status or self.reason.http_status

    def body(self) -> str:
        """OpenAI's error object."""
        return json.dumps(error_body(self.message, self.http_status))

    def headers(self) -> dict[str, str]:
        """All but the content type."""
        headers = dict(self.reason.metadata)
        if self.retry_after:
            headers["retry-after"] = self.retry_after
        if self.allow:
            headers["allow"] = self.allow
        if self.http_status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers
