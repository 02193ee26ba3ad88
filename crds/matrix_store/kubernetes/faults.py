"""From what an API server says no with to a StoreError. The texts end up on a person's screen."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx2

from matrix_crds.constants import GROUP
from matrix_store.errors import Conflict, Forbidden, NotFound, Rejected, StoreError, Unavailable

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 10.0


class AlreadyThere(Conflict):
    """The name is taken."""


class NamespaceGoing(Forbidden):
    """Nothing new can be created where everything is being deleted."""


class KindUnknown(Unavailable):
    """The server does not have that kind of object: its CRD is not installed."""


class TooOld(Unavailable):
    """The server has forgotten the changes since that version: list again."""


class Unauthenticated(Unavailable):
    """The server does not know who is calling."""


class Untrusted(Unavailable):
    """The server's certificate is not that of the cluster we know."""


@dataclass(frozen=True)
class Reply:
    """An answer that has come whole, whichever library brought it."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    content: bytes
    url: str

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


def refusal(reply: Reply) -> StoreError:
    """What an answer of 400 and more means."""
    try:
        status = json.loads(reply.content)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        status = {"message": reply.text[:200].strip() or _phrase(reply.status)}
    return refusal_of(status, reply.status, urlsplit(reply.url).path)


def refusal_of(status: dict[str, object], code: int, path: str = "") -> StoreError:
    """The same for a `Status` object, as answers and watches carry it."""
    reason, message = str(status.get("reason") or ""), _one_line(status.get("message"))
    match code:
        case 404:
            return _not_found(status, message, path)
        case 409:
            return (AlreadyThere if reason == "AlreadyExists" else Conflict)(f"{message}; look again")
        case 410:
            return TooOld(message)
        case 401:
            return Unauthenticated(
                f"the API server does not know who is calling ({message}): log in again, or check the kubeconfig's credentials"
            )
        case 403:
            return _forbidden(status, message)
        case 400 | 405 | 413 | 415 | 422:
            return Rejected(f"the API server refuses it: {message}")
        case 500 if "failed to create typed patch object" in message:  # how server-side apply names an unknown or mistyped field
            return Rejected(f"the API server refuses it: {message}")
        case _:
            return Unavailable(f"the API server answered {code} ({message}); try again")


def unreachable(error: Exception, server: str) -> StoreError:
    """What an exception of the HTTP client means: nothing is known of what the server did."""
    cause = error.__cause__ or error
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return Unavailable(f"the API server {server} did not answer in time; is the network up?")
    if isinstance(cause, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Untrusted(f"the API server {server} can't be trusted: {_one_line(error)}; check the kubeconfig's certificate authority")
    return Unavailable(f"the API server {server} can't be reached: {_one_line(error) or type(error).__name__}")


def unreadable(reply: Reply) -> StoreError:
    """For an answer that is no API server's, such as the page of a proxy between us and it."""
    kind = reply.headers.get("Content-Type", "no content type")
    return Unavailable(
        f"{urlsplit(reply.url).hostname} answered with something that is no Kubernetes object ({kind}): is it an API server?"
    )


def waits(reply: Reply) -> float:
    """Seconds that the server asks to wait before the next try."""
    try:
        return min(float(reply.headers["Retry-After"]), LONGEST_RETRY_SECONDS)
    except (KeyError, ValueError):
        return RETRY_SECONDS


def _not_found(status: dict[str, object], message: str, path: str) -> StoreError:
    details = status.get("details")
    if not isinstance(details, dict) or not details.get("name"):  # no object was asked for by name: the kind itself is unknown
        if GROUP not in path:
            return KindUnknown(f"the API server has no {path} ({message})")
        return KindUnknown(
            f"the cluster does not know Matrix's kinds ({message}): install them with `kubectl apply --server-side -f crds/`"
        )
    if details.get("kind") == "namespaces":
        return NotFound(f"namespace {details['name']!r} not found; create it: `kubectl create namespace {details['name']}`")
    return NotFound(message)


def _forbidden(status: dict[str, object], message: str) -> StoreError:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes or ()):
        return NamespaceGoing(f"the namespace is being deleted, nothing can be created in it: {message}")
    return Forbidden(f"not allowed: {message}; ask the cluster's administrator for a role")


def _phrase(code: int) -> str:
    return HTTPStatus(code).phrase if code in set(HTTPStatus) else "without a word"


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split())
