"""The changes of our kinds as kopf's watches tell them: what wakes the engine on Kubernetes.

kopf lists and watches, and nothing else: no handler of its own sort (create, update, delete, daemon, timer), so it puts no finalizer
and no annotation on objects, and needs to list and watch only. It runs in a thread with an event loop of its own, because at its end
it cancels everything that runs in its loop. Two things it does not do are done here. What was deleted while it or the API server was
away it does not tell: whenever it lists anew (events of type None), and now and then besides, the list is read once more and compared
with what is known. Kinds that the server does not name when kopf starts it never watches: so it is started when they are named.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf

from matrix_crds.constants import GROUP, VERSION
from matrix_operator.errors import ForeignFault
from matrix_store.errors import StoreError, Unavailable
from matrix_store.kubernetes.connection import configured
from matrix_store.kubernetes.known import Known
from matrix_store.kubernetes.manifests import stored
from matrix_store.kubernetes.paths import PLURALS
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import Change, ChangeType

log = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""How long one watch lasts at the server; the client gives it up a little later."""
GRACE_SECONDS = 15
BACKOFF_SECONDS = (1.0,) * 30
"""Between kopf's tries to reach an API server that is away. Its own series grows to 21 s: too long for a server that is back."""
COMPARE_AFTER_SECONDS = 0.5
COMPARE_EVERY_SECONDS = 300.0
COMPARE_AGAIN_SECONDS = 2.0
NAMED_SECONDS = 60.0
"""How long kinds that are served may take to be named."""
NAMED_AGAIN_SECONDS = 0.5
END_SECONDS = 10.0


class KopfFeed:
    """One feed for one engine. `age` tells how long nothing was heard: a sign of life for health checks."""

    def __init__(self, store: KubernetesStore, login: kopf.ConnectionInfo, kinds: Sequence[str], namespaces: Sequence[str] = ()) -> None:
        """`namespaces`: only these; none for the whole cluster, which takes the right to list and watch in all of it."""
        self._store = store
        self._login = login
        self._kinds = tuple(kinds)
        self._namespaces = tuple(namespaces)
        self._known = Known()
        self._heard: asyncio.Queue[Mapping[str, Any] | str | None] = asyncio.Queue()
        """Events of kopf, kinds that are to be compared, None when kopf has ended."""
        self._comparing: set[str] = set()
        self._last = time.monotonic()
        self._stop = threading.Event()

    @property
    def age(self) -> float:
        """Seconds since kopf said anything."""
        return time.monotonic() - self._last

    async def changes(self) -> AsyncIterator[Change]:
        """As Store.watch. Raises StoreError if what exists can't be listed at first, ForeignFault when kopf ends by itself."""
        loop = asyncio.get_running_loop()
        for kind in self._kinds:
            for change in await self._listed(kind):
                yield change
        yield Change(ChangeType.SYNCED)
        await self._named()
        for kind in self._kinds:
            self._compare_in(COMPARE_EVERY_SECONDS, kind, loop)
        thread = threading.Thread(target=self._run, args=(loop,), name="kopf", daemon=True)
        thread.start()
        try:
            while (heard := await self._heard.get()) is not None:
                for change in await self._news(heard, loop):
                    yield change
            raise ForeignFault("kopf has ended by itself; its log says why")
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, END_SECONDS)

    async def _news(self, heard: Mapping[str, Any] | str, loop: asyncio.AbstractEventLoop) -> list[Change]:
        if isinstance(heard, str):
            return await self._compare(heard, loop)
        self._last = time.monotonic()
        item = stored(dict(heard["object"]))
        if heard["type"] == "DELETED":
            return self._known.absent(item.key, item.uid)
        if heard["type"] is None and item.key.kind not in self._comparing:
            self._comparing.add(item.key.kind)
            self._compare_in(COMPARE_AFTER_SECONDS, item.key.kind, loop)
        return self._known.present(item)

    async def _named(self) -> None:
        """Returns when the API server names all kinds. Raises Unavailable."""
        deadline = time.monotonic() + NAMED_SECONDS
        while missing := set(self._kinds) - await self._store.served_kinds():
            if time.monotonic() > deadline:
                raise Unavailable(f"the API server does not name {', '.join(sorted(missing))} among what it has: are the CRDs current?")
            await asyncio.sleep(NAMED_AGAIN_SECONDS)

    def _compare_in(self, seconds: float, kind: str, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(seconds, self._heard.put_nowait, kind)

    async def _compare(self, kind: str, loop: asyncio.AbstractEventLoop) -> list[Change]:
        try:
            changes = await self._listed(kind)
        except StoreError as error:
            log.warning("comparing the list of %s: %s; again in %.0f s", kind, error, COMPARE_AGAIN_SECONDS)
            self._compare_in(COMPARE_AGAIN_SECONDS, kind, loop)
            return []
        if kind in self._comparing:
            self._comparing.discard(kind)
        else:  # the one of every now and then
            self._compare_in(COMPARE_EVERY_SECONDS, kind, loop)
        return changes

    async def _listed(self, kind: str) -> list[Change]:
        return self._known.listed(kind, *await self._store.list_at(kind))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread."""
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        _configure(settings)

        def login(**_: Any) -> kopf.ConnectionInfo:
            return self._login

        def hear(event: Mapping[str, Any], **_: Any) -> None:
            loop.call_soon_threadsafe(self._heard.put_nowait, {"type": event["type"], "object": event["object"]})

        kopf.on.login(registry=registry)(login)
        for kind in self._kinds:
            kopf.on.event(GROUP, VERSION, PLURALS[kind], registry=registry)(hear)
        try:
            asyncio.run(
                kopf.operator(
                    registry=registry,
                    settings=settings,
                    standalone=True,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                )
            )
        except Exception:
            log.exception("kopf failed")
        finally:
            if not self._stop.is_set():
                loop.call_soon_threadsafe(self._heard.put_nowait, None)


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.scanning.disabled = True  # no right to look at CRDs and namespaces is needed
    settings.posting.enabled = False
    settings.networking.error_backoffs = BACKOFF_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + GRACE_SECONDS
    settings.watching.connect_timeout = GRACE_SECONDS


def login_from(kubeconfig: Path | None, context: str | None = None) -> kopf.ConnectionInfo:
    """kopf's credentials: those of our own connection. Raises Unavailable."""
    config = configured(context, kubeconfig)
    cluster, user = config.cluster, config.user
    token = user.token if user else None
    if user and user.token_file:
        token = Path(user.token_file).read_text().strip()
    return kopf.ConnectionInfo(
        server=str(cluster.server),
        ca_path=str(config.abs_file(cluster.certificate_auth)) if cluster.certificate_auth else None,
        ca_data=cluster.certificate_auth_data,
        insecure=cluster.insecure,
        scheme="Bearer" if token else None,
        token=token,
        certificate_path=str(config.abs_file(user.client_cert)) if user and user.client_cert else None,
        certificate_data=user.client_cert_data if user else None,
        private_key_path=str(config.abs_file(user.client_key)) if user and user.client_key else None,
        private_key_data=user.client_key_data if user else None,
    )
