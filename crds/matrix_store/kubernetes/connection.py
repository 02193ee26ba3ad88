"""The way to an API server: which one (a kubeconfig, or the pod's own service account), with which credentials.

lightkube reads the files and knows which certificates and tokens they mean; those that change are read by credentials.py. Requests and
bodies are ours (api.py): its typed objects lose writes to the metadata of custom resources, and its calls have no preconditions and no
strict validation.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx2
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.credentials import credentials

REQUEST_SECONDS = 30.0
"""How long one call may take. A slow API server is given more time than a person would: its answer is worth more than a second try."""
CONNECT_SECONDS = 5.0
CONNECTIONS = 24
"""At once, of one client, watches included. Each call looks at all of them (httpcore's pool asks every one whether it is still open)."""
AGENT = "matrix"
"""The User-Agent, as the API server's audit log has it."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
HELP = "see `kubectl config get-contexts`, or set KUBECONFIG"


@dataclass(frozen=True)
class Connection:
    """An HTTP client whose requests are authenticated; paths are relative to the server."""

    http: httpx2.AsyncClient
    server: str
    namespace: str
    """Where the kubeconfig's context is set to; `default` if it does not say."""
    tls: ssl.SSLContext | None = None
    """What `http` trusts and shows, for what is no HTTP (tunnel.py)."""
    auth: httpx2.Auth | None = None
    """How `http` says who is calling; None where the certificate does."""


def connect(context: str | None = None, kubeconfig: Path | None = None, connections: int = CONNECTIONS) -> Connection:
    """Opens nothing yet. `kubeconfig`: default $KUBECONFIG, else ~/.kube/config, else the service account of the pod that this runs in.
    `context`: default the file's current one. `connections`: how many calls and watches may be under
    way. Raises Unavailable when there is no such file or context, or it can't be used."""
    config = configured(context, kubeconfig)
    timeout = httpx2.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS)
    try:
        options = ConnectionParams(timeout=timeout).httpx_params(config)
        options["auth"] = credentials(config, options["verify"]) or options["auth"]
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        http = httpx2.AsyncClient(**options, limits=limits, headers={"User-Agent": AGENT})
    except (ConfigError, OSError, ValueError) as error:  # a certificate or token that can't be read
        raise Unavailable(f"the credentials of context {config.context_name!r} can't be used: {error}; {HELP}") from error
    return Connection(http, str(config.cluster.server), config.namespace, options["verify"], options["auth"])


def is_inside() -> bool:
    """Whether `connect()` without arguments means the very cluster in one of whose pods this runs."""
    return _default_file() is None and SERVICE_ACCOUNT.exists()


def configured(context: str | None = None, kubeconfig: Path | None = None) -> SingleConfig:
    """What is known of the cluster before anything is asked of it. Raises Unavailable."""
    path = kubeconfig or _default_file()
    if path is None:
        if SERVICE_ACCOUNT.exists():
            return _selected(KubeConfig.from_service_account(), None, "the service account")
        raise Unavailable(f"no Kubernetes cluster is known here: there is no kubeconfig and no service account; {HELP}")
    try:
        loaded = KubeConfig.from_file(path)
    except Exception as error:  # missing, unreadable, not YAML, fields missing: the library has no common base for these
        raise Unavailable(f"the kubeconfig {path} can't be read: {' '.join(str(error).split())}; {HELP}") from error
    return _selected(loaded, context, str(path))


def _default_file() -> Path | None:
    named = [Path(part).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if named:
        return next((path for path in named if path.exists()), named[0])
    usual = Path("~/.kube/config").expanduser()
    return usual if usual.exists() else None


def _selected(config: KubeConfig, context: str | None, source: str) -> SingleConfig:
    try:
        selected = config.get(context_name=context)
    except ConfigError as error:
        raise Unavailable(f"{source}: {error}; {HELP}") from error
    if selected is None:
        raise Unavailable(f"{source} names no current context; choose one: `kubectl config use-context NAME`")
    return selected
