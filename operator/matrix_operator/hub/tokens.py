"""The tokens of sites. The operator's configuration holds their digests alone: whoever reads it can't be a site."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from matrix_operator.hub.settings import SiteSettings

TOKEN_BYTES = 32
SCHEME = "Bearer "


def issue() -> tuple[str, str]:
    """A new token, to be shown once, and its digest."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, digest(token)


def digest(token: str) -> str:
    """As in SiteSettings.token_sha256. A token has 256 bits of its own, so a fast hash without salt does."""
    return hashlib.sha256(token.encode()).hexdigest()


def site_of(metadata: Any, sites: Mapping[str, SiteSettings]) -> str | None:
    """Whose token the metadata of a call carries; None for nobody's. All are compared, so that the time does not tell which it was."""
    presented = digest(bearer(metadata))
    found = [name for name, site in sites.items() if hmac.compare_digest(presented, site.token_sha256)]
    return found[0] if found else None


def bearer(metadata: Any) -> str:
    """The token of a call; "" without one."""
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(SCHEME):
            return value.removeprefix(SCHEME)
    return ""
