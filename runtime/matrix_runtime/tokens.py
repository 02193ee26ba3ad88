"""Secrets in files: read when needed, read again when they change, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path

RAY_TOKEN = "ray-token"
CLIENT_TOKEN = "client-token"


def bearer_token(authorization: str) -> str:
    """The token of an `authorization` header or metadata value; "" when it is no bearer token."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class TokenFile:
    """A token in a file. A rotated file counts from the next request on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: tuple[int, int, int] | None = None
        self._token = ""

    def read(self) -> str:
        """The token, without surrounding space; "" while there is no file."""
        signature = self._look()
        if signature != self._signature:
            self._token = self._path.read_text().strip() if signature else ""
            self._signature = signature
        return self._token

    def matches(self, presented: str) -> bool:
        """Whether `presented` is the token. Nothing matches an empty or absent file."""
        token = self.read()
        return bool(token) and hmac.compare_digest(token.encode(), presented.encode())

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
