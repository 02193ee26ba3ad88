"""What can go wrong inside a cluster.

RuntimeFault
|-- ApiError               a request can't be answered: an ErrorReason and words for the caller
`-- StartFailed            a replica can't start: a FailureReason, a line in plain words, the engine's last lines
    |-- ModelNotFound      the source does not lead to a model
    `-- BadArguments       the engine refuses its arguments
"""

from __future__ import annotations

from matrix_proto.errors import ErrorReason
from matrix_proto.state import FailureReason, StartFailure


class RuntimeFault(Exception):
    """Base of all errors of matrix_runtime."""


class ApiError(RuntimeFault):
    """A request can't be answered. `message` is for the caller, in the engine's words where it has some; `param`: the field at fault."""

    def __init__(self, reason: ErrorReason, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param


class StartFailed(RuntimeFault):
    """A replica can't start. `message` says in one line what to do; `lines` are the last ones of the engine's own output."""

    reason = FailureReason.START_FAILED

    def __init__(self, message: str, lines: tuple[str, ...] = (), reason: FailureReason | None = None) -> None:
        self.message = message
        self.lines = lines
        self.reason = reason or type(self).reason
        super().__init__("\n".join((f"{self.reason}: {message}", *lines)))

    def __reduce__(self) -> tuple[type[StartFailed], tuple[str, tuple[str, ...], FailureReason]]:
        """Serve carries it to its controller by pickle."""
        return type(self), (self.message, self.lines, self.reason)

    def record(self) -> StartFailure:
        """The form in which the directory is told."""
        return StartFailure(reason=self.reason, message=self.message, lines=self.lines)


class ModelNotFound(StartFailed):
    """The source does not lead to a model that can be loaded."""

    reason = FailureReason.MODEL_NOT_FOUND


class BadArguments(StartFailed):
    """The engine refuses its arguments."""

    reason = FailureReason.BAD_ARGUMENTS
