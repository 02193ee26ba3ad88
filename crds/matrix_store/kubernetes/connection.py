"""The way to an API server: which one (a kubeconfig, or the pod's own service account), with which credentials.

kubeconfig.py reads the files, lightkube knows which certificates and tokens they mean; those that change are read by credentials.py.
Requests and bodies are ours (api.py): lightkube's typed objects lose writes to the metadata of custom resources, and its calls have no
preconditions and no strict validation.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.credentials import credentials
from matrix_store.kubernetes.keepalive import keep_alive_from_here
from matrix_store.kubernetes.kubeconfig import HELP, Headers, Selected, select

REQUEST_SECONDS = 30.0
"""How long one call may take. A slow API server is given more time than a person would: its answer is worth more than a second try."""
CONNECT_SECONDS = 5.0
CONNECTIONS = 24
"""At once, of one client, watches included. Each call looks at all of them (httpcore's pool asks every one whether it is still open)."""
AGENT = "matrix"
"""The User-Agent, as the API server's audit log has it."""
SOCKS = "is reached through a SOCKS proxy, which takes two packages more: `pip install socksio python-socks`"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


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
    headers: Headers = ()
    """Of every request of `http`, and so of every other one: on whose behalf it is made."""
    proxy: str | None = field(default=None, repr=False)
    """The URL of what leads to the server, if not what the environment says. May hold a password."""


def connect(context: str | None = None, kubeconfig: Path | None = None, connections: int = CONNECTIONS) -> Connection:
    """Opens nothing yet. `kubeconfig`: default $KUBECONFIG, else ~/.kube/config, else the service account of the pod that this runs in.
    `context`: default the file's current one. `connections`: how many calls and watches may be under
    way. Raises Unavailable when there is no such file or context, or it can't be used."""
    selected = _selected(context, kubeconfig)
    config = selected.config
    timeout = httpx2.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS)
    try:
        options = ConnectionParams(timeout=timeout).httpx_params(config)
        tls = options["verify"]
        if selected.server_name:
            _expect(tls, selected.server_name)
        options["auth"] = credentials(config, tls, selected.for_plugins) or options["auth"]
        if selected.proxy:
            options["proxy"] = httpx2.Proxy(selected.proxy, ssl_context=tls if selected.proxy.startswith("https:") else None)
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers, hooks = _encoded(("User-Agent", AGENT), *selected.headers), {"request": [keep_alive_from_here]}
        http = httpx2.AsyncClient(**options, limits=limits, headers=headers, event_hooks=hooks)
    except ImportError as error:
        raise Unavailable(f"{config.cluster.server} {SOCKS}") from error
    except (ConfigError, OSError, ValueError, httpx2.InvalidURL) as error:  # a certificate or token that can't be read
        raise Unavailable(f"the credentials of context {config.context_name!r} can't be used: {error}; {HELP}") from error
    return Connection(http, str(config.cluster.server), config.namespace, tls, options["auth"], selected.headers, selected.proxy)


def is_inside() -> bool:
    """Whether `connect()` without arguments means the very cluster in one of whose pods this runs."""
    return not _default_files() and SERVICE_ACCOUNT.exists()


def configured(context: str | None = None, kubeconfig: Path | None = None) -> SingleConfig:
    """What is known of the cluster before anything is asked of it. Raises Unavailable."""
    return _selected(context, kubeconfig).config


def _selected(context: str | None, kubeconfig: Path | None) -> Selected:
    files = [kubeconfig] if kubeconfig else _default_files()
    if files:
        return select(files, context)
    if not SERVICE_ACCOUNT.exists():
        raise Unavailable(f"no Kubernetes cluster is known here: there is no kubeconfig and no service account; {HELP}")
    try:
        inside = KubeConfig.from_service_account(SERVICE_ACCOUNT.parent).get(context)
    except ConfigError as error:
        raise Unavailable(f"the service account: {error}; {HELP}") from error
    assert inside is not None
    return Selected(inside)


def _default_files() -> list[Path]:
    """Those of $KUBECONFIG that are there; the first one, if none is."""
    named = [Path(part).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    usual = Path("~/.kube/config").expanduser()
    return [path for path in named or [usual] if path.exists()] or named[:1]


def _expect(tls: ssl.SSLContext, name: str) -> None:
    """The server's certificate has that name, and the server is asked for it (SNI), whatever address it is called at and whichever
    library calls: what runs in an event loop makes its TLS by `wrap_bio`."""
    wrap = tls.wrap_bio

    def wrap_bio(
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return wrap(incoming, outgoing, server_side, name, session)

    tls.wrap_bio = wrap_bio  # type: ignore[method-assign]


def _encoded(*headers: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    """httpx2 would refuse what is not ASCII; kubectl sends UTF-8."""
    return [(name.encode(), value.encode()) for name, value in headers]
