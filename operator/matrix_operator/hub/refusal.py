"""Calls that end by our decision: with a status, words for whoever runs the bridge, and a word for the counters."""

from __future__ import annotations

from enum import StrEnum

import grpc


class Why(StrEnum):
    """What is counted (matrix_hub_refused_total)."""

    TOKEN = "token"
    HELLO = "hello"
    UNREADABLE = "unreadable"
    VERSION = "version"
    FOREIGN_HUB = "foreignHub"
    COLLISION = "collision"
    SILENT = "silent"
    DEAF = "deaf"
    TOO_LARGE = "tooLarge"
    UNKNOWN_TUNNEL = "unknownTunnel"


class Refused(Exception):
    """The call is not, or no longer, served."""

    def __init__(self, why: Why, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.code = code
        self.message = message
