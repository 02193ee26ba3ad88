"""What the client can say no with. Beside these, matrix_store.errors and matrix_crds.errors.ManifestError reach the caller as they are.

ClientError
├── UsageError            the call itself makes no sense: an unknown context, kind or condition
├── NotReady              the object is not ready: `reason` and a message that says what to do
│   └── NeedsUser         ... and will not be before the user changes something
├── ObjectGone            it was deleted while it was waited for
├── WaitTimeout           the deadline passed (also a TimeoutError)
├── ControllerFailed      the controller does not run and could not be started
└── RequestError          a request to a model
    ├── Unreachable       no replica could be reached, or the answer broke off
    ├── RequestTimeout    no answer in time (also a TimeoutError)
    └── Refused           the replica said no: `status` and its own words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class RequestError(ClientError):
    """A request to a model failed."""


class Unreachable(RequestError):
    """No replica could be reached, or the answer broke off."""


class RequestTimeout(RequestError, TimeoutError):
    """No answer in time."""


class Refused(RequestError):
    """The replica said no. `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
