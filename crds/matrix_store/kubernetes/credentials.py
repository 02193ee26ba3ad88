"""How requests say who is calling where that changes while a process runs: a token in a file, or what a plugin of the kubeconfig prints.

Plugins speak client.authentication.k8s.io, v1 or v1beta1 (kubernetes.io, "client-go credential plugins"): the program is told in
KUBERNETES_EXEC_INFO for which cluster, if the kubeconfig has provideClusterInfo for it, and prints an ExecCredential with a token, a
certificate or both. It never gets a terminal.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from lightkube.config.kubeconfig import SingleConfig

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
PLUGIN_SECONDS = 60.0
"""How long a plugin may take: it may ask a server of its own."""
EARLY = timedelta(seconds=10)
"""So long before its end a credential is not used any more."""
UNAUTHORIZED = 401


class CredentialsFailed(OSError):
    """There is no credential right now; the text says why."""


class TokenFile(httpx2.Auth):
    """A token that somebody replaces in its file, as the kubelet does. Read once, and again after each refusal."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._token = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Raises CredentialsFailed while there is no file."""
        self._token = self._token or self._read()
        request.headers["Authorization"] = f"Bearer {self._token}"
        answer = yield request
        if answer.status_code == UNAUTHORIZED:
            self._token = self._read()
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _read(self) -> str:
        try:
            return self._file.read_text().strip()
        except OSError as error:
            raise CredentialsFailed(f"the token file {self._file} can't be read: {error.strerror}") from error


class Plugin(httpx2.Auth):
    """Runs the plugin when there is no credential, when it is over, and after a refusal; once for all requests that wait for it, of
    whatever thread and event loop."""

    def __init__(self, config: SingleConfig, tls: ssl.SSLContext, told: Mapping[str, Any] | None) -> None:
        """`tls` is given the certificate, if that is what the plugin prints: for connections that are made afterwards. `told`: what the
        plugin hears of the cluster beside what `config` has; None for nothing. Paths in `config` are absolute. Raises OSError."""
        assert config.user is not None and config.user.exec is not None
        self._exec = config.user.exec
        self._tls = tls
        spec = {"interactive": False} | ({} if told is None else {"cluster": _cluster(config, told)})
        self._info = json.dumps({"kind": "ExecCredential", "apiVersion": self._exec.apiVersion, "spec": spec})
        self._lock = threading.Lock()
        self._runs = 0
        """How often it has brought something."""
        self._token = ""
        self._over: datetime | None = None

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Raises CredentialsFailed."""
        self._renew(0)
        runs = self._sign(request)
        answer = yield request
        if answer.status_code == UNAUTHORIZED:
            self._renew(runs)
            self._sign(request)
            yield request

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Raises CredentialsFailed."""
        if not self._good:
            await asyncio.to_thread(self._renew, 0)
        runs = self._sign(request)
        answer = yield request
        if answer.status_code == UNAUTHORIZED:
            await asyncio.to_thread(self._renew, runs)
            self._sign(request)
            yield request

    @property
    def _good(self) -> bool:
        return self._runs > 0 and (self._over is None or datetime.now(UTC) < self._over - EARLY)

    def _sign(self, request: httpx2.Request) -> int:
        """Returns how often the plugin had been run by then."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return self._runs

    def _renew(self, refused: int) -> None:
        """`refused`: the run whose credential was refused; if another has come since, it is tried first."""
        with self._lock:
            if not self._good or self._runs == refused:
                self._take(self._run())
                self._runs += 1

    def _run(self) -> dict[str, Any]:
        name = self._exec.command
        try:
            done = subprocess.run(
                [name, *(self._exec.args or ())],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PLUGIN_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            hint = f"; {self._exec.installHint.strip()}" if self._exec.installHint else ""
            raise CredentialsFailed(f"the credential plugin {name} of the kubeconfig is not installed{hint}") from error
        except subprocess.TimeoutExpired as error:
            took = f"took longer than {PLUGIN_SECONDS:g} s: {_last_words(error.stderr)}; log in with its own program first"
            raise CredentialsFailed(f"the credential plugin {name} {took}") from None  # whose text is all of its arguments
        except OSError as error:
            raise CredentialsFailed(f"the credential plugin {name} can't be run: {error.strerror}") from error
        if done.returncode:
            raise CredentialsFailed(f"the credential plugin {name} failed with exit code {done.returncode}: {_last_words(done.stderr)}")
        try:
            return dict(json.loads(done.stdout)["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise CredentialsFailed(f"the credential plugin {name} did not print an ExecCredential with a status") from error

    def _take(self, status: dict[str, Any]) -> None:
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if not status.get("token") and not (certificate and key):
            raise CredentialsFailed(f"the credential plugin {self._exec.command} printed neither a token nor a certificate with its key")
        if certificate and key:
            _load(self._tls, certificate + "\n" + key)
        over = status.get("expirationTimestamp")
        self._token = str(status.get("token") or "")
        self._over = datetime.fromisoformat(over) if over else None

    def _environment(self) -> dict[str, str]:
        given = {entry.name: entry.value for entry in self._exec.env or ()}
        return {**os.environ, **given, "KUBERNETES_EXEC_INFO": self._info}


def credentials(config: SingleConfig, tls: ssl.SSLContext, told: Mapping[str, Any] | None) -> TokenFile | Plugin | None:
    """For a user whose credentials change; None for any other. `told`: to plugins, of the cluster. Raises ValueError for a plugin of a
    kind that is not known, OSError."""
    user = config.user
    if user is not None and user.token_file is not None:
        return TokenFile(Path(user.token_file))
    if user is None or user.token is not None or user.exec is None:
        return None
    if user.exec.apiVersion not in API_VERSIONS:
        raise ValueError(f"its plugin {user.exec.command} speaks {user.exec.apiVersion}; known are {' and '.join(API_VERSIONS)}")
    return Plugin(config, tls, told)


def _cluster(config: SingleConfig, told: Mapping[str, Any]) -> dict[str, Any]:
    """With all that is trusted, which may be long: client-go gives it to those alone that ask for it (rest/transport.go), and reads it
    once. Raises OSError."""
    cluster = config.cluster
    data = cluster.certificate_auth_data
    if cluster.certificate_auth:
        data = base64.b64encode(Path(cluster.certificate_auth).read_bytes()).decode()
    found = {"server": cluster.server, "insecure-skip-tls-verify": bool(cluster.insecure), **told}
    return found | ({"certificate-authority-data": data} if data else {})


def _last_words(stderr: bytes | None) -> str:
    return " ".join((stderr or b"").decode(errors="replace").split())[-300:] or "it said nothing"


def _load(tls: ssl.SSLContext, pem: str) -> None:
    """The ssl module takes certificates from files alone."""
    with tempfile.NamedTemporaryFile("w") as file:  # 0600
        file.write(pem)
        file.flush()
        tls.load_cert_chain(file.name)
