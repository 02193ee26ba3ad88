"""The exit codes of `matrix`, all of them. Scripts rely on these."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says; `text` is the sentence of the help page."""

    OK = 0, "done"
    FAILED = 1, "it failed; the line on stderr says what to do"
    INVALID = 2, "wrong usage, or a manifest that is not valid"
    NOT_FOUND = 3, "no such object"
    TIMEOUT = 4, "not there within --timeout; it goes on in the background"
    UNAVAILABLE = 5, "the store or the controller can't be used now"
    INTERRUPTED = 130, "interrupted (Ctrl-C); what was started goes on in the background"

    text: str

    def __new__(cls, code: int, text: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member
