"""What HAProxy answers by itself. `%[...]` is put in by HAProxy when it answers (its log-format)."""

from __future__ import annotations

from matrix_proto.errors import MODEL_HEADER, ErrorReason
from matrix_runtime.gateway.limits import BODY_SECONDS, HEADER_SECONDS, LARGEST_BODY, LEAST_BODY_RATE, MIB
from matrix_runtime.gateway.refusals import Refusal

NO_KEY = Refusal(ErrorReason.UNAUTHENTICATED, "a valid key is needed: send it as 'Authorization: Bearer <key>'")
KEY_EXPIRED = Refusal(ErrorReason.UNAUTHENTICATED, "this key has expired: issue another with `matrix keys issue`")
NOT_OFFERED = Refusal(ErrorReason.NOT_OFFERED, "this path is not offered here")
ONLY_GET = Refusal(ErrorReason.NOT_OFFERED, "this path takes GET", status=405, allow="GET")
ONLY_POST = Refusal(ErrorReason.NOT_OFFERED, "this path takes POST", status=405, allow="POST")
TOO_LARGE = Refusal(ErrorReason.TOO_LARGE, f"the body is larger than {LARGEST_BODY // MIB} MiB")
RATE_LIMITED = Refusal(
    ErrorReason.RATE_LIMITED, "this key may send %[var(txn.limit)] requests per minute; wait a moment", retry_after="%[var(txn.pause)]"
)
GRPC_NO_MODEL = Refusal(ErrorReason.BAD_REQUEST, f"name the model in the metadata {MODEL_HEADER}")
GRPC_UNKNOWN_MODEL = Refusal(ErrorReason.UNKNOWN_MODEL, "no such model here; GET /v1/models lists them")
GRPC_NO_REPLICA = Refusal(ErrorReason.NOT_READY, "no replica of this model is ready; ask again", retry_after="1")

BY_STATUS = {
    400: Refusal(ErrorReason.BAD_REQUEST, "this is not an HTTP request that can be understood", status=400),
    408: Refusal(
        ErrorReason.DEADLINE,
        f"the request did not arrive in time: its head within {HEADER_SECONDS} s, its body within {BODY_SECONDS} s"
        f" and a second more for each {LEAST_BODY_RATE // 1024} KiB",
        status=408,
    ),
    413: TOO_LARGE,
    500: Refusal(ErrorReason.ENGINE_FAILED, "the gateway failed", status=500),
    502: Refusal(ErrorReason.BROKE_OFF, "the replica broke off before it had answered; ask again"),
    503: Refusal(ErrorReason.NOT_READY, "no replica takes the request now; ask again", retry_after="1"),
    504: Refusal(ErrorReason.DEADLINE, "the replica did not answer in time"),
}
"""What goes wrong in HAProxy itself, or between it and a replica."""
