"""API keys of a cluster's gateway: a file in the cluster's secrets directory. Only hashes are at rest; a key is shown once, when issued.

Written by the client (`matrix keys`), read by the gateway, which looks at it again when it changes.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import Field

from matrix_proto.state import WireModel

KEYS_FILE = "api-keys.json"
PREFIX = "mxk-"
"""What every issued key begins with."""


class ApiKey(WireModel):
    """One issued key."""

    id: str
    """Short and public: `matrix keys list` shows it, `matrix keys revoke` takes it."""
    name: str = ""
    """Who or what it is for."""
    digest: str
    """Upper-case hex of the SHA-256 of the whole header value, `Bearer <key>`: what HAProxy computes."""
    created: datetime
    expires: datetime | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)


class ApiKeys(WireModel):
    keys: tuple[ApiKey, ...] = ()


def digest(key: str) -> str:
    """The digest of a key, as it is kept."""
    return hashlib.sha256(f"Bearer {key}".encode()).hexdigest().upper()
