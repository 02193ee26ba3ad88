"""Which hub, and how it is trusted: its address, its certificate's authority, and the site's token."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from matrix_proto.tunnel import OPTIONS

PING_SECONDS = 10.0


class HubError(Exception):
    """The hub can't be asked as things are. The message is for a person."""


@dataclass(frozen=True)
class HubEndpoint:
    """As the site's file, or the command line, has it."""

    address: str
    """HOST:PORT"""
    site: str
    token_file: Path
    authority_file: Path | None = None
    """A certificate (PEM) that has signed the hub's, or is the hub's own; None: those that the machine trusts."""
    ping_seconds: float = PING_SECONDS
    """Between pings, and for their answer: a network that was cut is noticed within twice that."""

    def token(self) -> str:
        """Read for each connection: a new one needs no restart. Raises HubError."""
        try:
            state = self.token_file.stat()
            if state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o077:
                raise HubError(
                    f"{self.token_file} can be read by others: chmod 600 {self.token_file}, and ask for a new token if they may have"
                )
            token = self.token_file.read_text().strip()
        except OSError as error:
            raise HubError(f"{self.token_file} can't be read: {error.strerror}") from error
        if not token or not token.isascii() or any(character.isspace() for character in token):
            raise HubError(f"{self.token_file} does not hold one token, in one line")
        return token

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own, made when the first call is. Raises HubError."""
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(self._authority()), self._options())

    def _authority(self) -> bytes | None:
        if self.authority_file is None:
            return None
        try:
            return self.authority_file.read_bytes()
        except OSError as error:
            raise HubError(f"{self.authority_file} can't be read: {error.strerror}") from error

    def _options(self) -> list[tuple[str, int]]:
        """See grpc_types.h."""
        milliseconds = int(self.ping_seconds * 1000)
        return [
            *OPTIONS,
            ("grpc.keepalive_time_ms", milliseconds),
            ("grpc.keepalive_timeout_ms", milliseconds),
            ("grpc.http2.ping_timeout_ms", milliseconds),  # it is what counts for an unanswered ping (grpc 1.85): a minute by default
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),  # a user who waits for a tunnel is given up after 15 s
            # Else two channels share a connection, and tunnels stand in the reports' way.
            ("grpc.use_local_subchannel_pool", 1),
        ]
