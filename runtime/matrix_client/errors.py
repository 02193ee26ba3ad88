"""What the client can say no with. Beside these, matrix_store.errors and matrix_crds.errors.ManifestError reach the caller as they are.

ClientError
├── UsageError            the call itself makes no sense: an unknown context, kind or condition
├── NotReady              the object is not ready: `reason` and a message that says what to do
│   └── NeedsUser         ... and will not be before the user changes something
├── ObjectGone            it was deleted while it was waited for
├── WaitTimeout           the deadline passed (also a TimeoutError)
├── KeysUnreadable        the file with a cluster's issued keys is damaged or can't be used
├── ControllerFailed      the controller does not run and could not be started
└── RequestError          a request to a model: `reason`, and `retryable` when the same request may succeed a moment later
    ├── Refused           the request is at fault, or the token: it is never tried again
    │   ├── ContextTooLong
    │   └── UnknownModel
    ├── RateLimited       the replicas take no more for now
    ├── Unreachable       no replica could be reached, or none takes requests now
    ├── BrokeOff          the answer broke off; what has streamed in is all there is
    └── RequestTimeout    no answer in time (also a TimeoutError)

A RequestError that is none of its subclasses: the engine failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrix_proto.errors import ErrorReason

if TYPE_CHECKING:
    from matrix_crds.keys import ObjectKey


class ClientError(Exception):
    """Base. The text is one line for a person and says what to do."""


class UsageError(ClientError):
    """The call itself makes no sense."""


class NotReady(ClientError):
    """The object is not ready. `reason` is stable (see matrix_crds.reasons)."""

    def __init__(self, key: ObjectKey, reason: str, message: str) -> None:
        super().__init__(f"{key} is not ready ({reason}): {message}" if reason else f"{key} is not ready: {message}")
        self.key = key
        self.reason = reason
        self.message = message


class NeedsUser(NotReady):
    """It will not become ready before the user changes something."""


class ObjectGone(ClientError):
    """It was deleted while it was waited for."""


class WaitTimeout(ClientError, TimeoutError):
    """The deadline passed."""


class ControllerFailed(ClientError):
    """The controller does not run and could not be started. `lines` are the last ones of its log."""

    def __init__(self, message: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


class KeysUnreadable(ClientError):
    """The file with a cluster's issued keys is damaged or can't be used."""


class RequestError(ClientError):
    """A request to a model failed. Was it retryable, then it was tried on other replicas before this was raised."""

    usual = ErrorReason.ENGINE_FAILED
    """The reason when none is given."""

    def __init__(self, message: str, reason: ErrorReason | None = None, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.usual
        self.retryable = self.reason.retryable if retryable is None else retryable


class Refused(RequestError):
    """The replica said no, and will say so again: the request is at fault, or the token."""

    usual = ErrorReason.BAD_REQUEST


class ContextTooLong(Refused):
    """Prompt and answer do not fit into the model's context."""

    usual = ErrorReason.CONTEXT_TOO_LONG


class UnknownModel(Refused):
    """The replica does not serve that model."""

    usual = ErrorReason.UNKNOWN_MODEL


class RateLimited(RequestError):
    """The replicas take no more for now."""

    usual = ErrorReason.RATE_LIMITED


class Unreachable(RequestError):
    """No replica could be reached, or none takes requests now."""

    usual = ErrorReason.NOT_READY


class BrokeOff(RequestError):
    """The answer broke off: the replica, or the way to it, ended. A stream that has begun is never begun again by itself."""

    usual = ErrorReason.BROKE_OFF


class RequestTimeout(RequestError, TimeoutError):
    """No answer in time."""

    usual = ErrorReason.DEADLINE
