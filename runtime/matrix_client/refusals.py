"""From a gRPC error to one of errors.py. What the replica says about it (matrix_proto.errors) goes before what the status code suggests."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
import grpc.aio

from matrix_client.errors import BrokeOff, ContextTooLong, RateLimited, Refused, RequestError, RequestTimeout, UnknownModel, Unreachable
from matrix_proto.errors import REASON_KEY, RETRYABLE_KEY, ErrorReason

_KINDS: Mapping[ErrorReason, type[RequestError]] = {
    ErrorReason.BAD_REQUEST: Refused,
    ErrorReason.TOO_LARGE: Refused,
    ErrorReason.NOT_OFFERED: Refused,
    ErrorReason.UNAUTHENTICATED: Refused,
    ErrorReason.CONTEXT_TOO_LONG: ContextTooLong,
    ErrorReason.UNKNOWN_MODEL: UnknownModel,
    ErrorReason.RATE_LIMITED: RateLimited,
    ErrorReason.DRAINING: Unreachable,
    ErrorReason.NOT_READY: Unreachable,
    ErrorReason.BROKE_OFF: BrokeOff,
    ErrorReason.DEADLINE: RequestTimeout,
    ErrorReason.ENGINE_FAILED: RequestError,
}
_Code = grpc.StatusCode
_BY_CODE: Mapping[grpc.StatusCode, ErrorReason] = {
    _Code.INVALID_ARGUMENT: ErrorReason.BAD_REQUEST,
    _Code.FAILED_PRECONDITION: ErrorReason.BAD_REQUEST,
    _Code.OUT_OF_RANGE: ErrorReason.BAD_REQUEST,
    _Code.UNAUTHENTICATED: ErrorReason.UNAUTHENTICATED,
    _Code.PERMISSION_DENIED: ErrorReason.UNAUTHENTICATED,
    _Code.NOT_FOUND: ErrorReason.UNKNOWN_MODEL,
    _Code.UNIMPLEMENTED: ErrorReason.NOT_OFFERED,
    _Code.RESOURCE_EXHAUSTED: ErrorReason.TOO_LARGE,  # so says gRPC itself of a message over its limit
    _Code.DEADLINE_EXCEEDED: ErrorReason.DEADLINE,
    _Code.UNAVAILABLE: ErrorReason.BROKE_OFF,
    _Code.CANCELLED: ErrorReason.BROKE_OFF,  # by the server: what we cancel raises CancelledError
    _Code.ABORTED: ErrorReason.BROKE_OFF,
}
_NOT_CONNECTED = ("failed to connect", "connections to all backends failing")
"""How gRPC's message begins when nothing was sent."""
_LONGEST_WORDS = 500


def told(error: grpc.aio.AioRpcError, where: str, *, begun: bool = False) -> RequestError:
    """The error in our words. `where` names the replica; `begun`: pieces of the answer have come."""
    words = " ".join((error.details() or error.code().name).split())[:_LONGEST_WORDS]
    metadata = {str(key): str(value) for key, value in error.trailing_metadata() or ()}
    reason = _reason(metadata, error.code(), words)
    retryable = metadata[RETRYABLE_KEY] == "1" if RETRYABLE_KEY in metadata else reason.retryable
    if begun and retryable:
        return BrokeOff(f"{where} broke off in the middle of the answer ({words}); ask again")
    return _KINDS[reason](_sentence(reason, where, words), reason, retryable=retryable)


def _reason(metadata: Mapping[str, str], code: grpc.StatusCode, words: str) -> ErrorReason:
    try:
        return ErrorReason(metadata[REASON_KEY])
    except (KeyError, ValueError):  # gRPC itself speaks, or a newer replica
        if code is _Code.UNAVAILABLE and words.lower().startswith(_NOT_CONNECTED):
            return ErrorReason.NOT_READY
        return _BY_CODE.get(code, ErrorReason.ENGINE_FAILED)


def _sentence(reason: ErrorReason, where: str, words: str) -> str:
    match reason:
        case ErrorReason.UNAUTHENTICATED:
            return f"{where} refuses the cluster's client token: {words}"
        case ErrorReason.DRAINING | ErrorReason.NOT_READY:
            return f"{where} is not taking requests now: {words}"
        case ErrorReason.RATE_LIMITED:
            return f"{where} takes no more requests for now: {words}"
        case ErrorReason.BROKE_OFF:
            return f"{where} broke off ({words}); ask again"
        case ErrorReason.DEADLINE:
            return f"{where} did not answer in time: {words}"
        case ErrorReason.ENGINE_FAILED:
            return f"{where} failed: {words}; see `matrix logs` of the model"
    return f"the model refused the request ({reason}): {words}"
