"""The changes of our kinds as kopf's watches tell them: what wakes the engine on Kubernetes.

kopf lists and watches, and nothing else: no handler of its own sort (create, update, delete, daemon, timer), so it puts no finalizer
and no annotation on objects, and needs to list and watch only. It runs in a thread with an event loop of its own, because at its end
it cancels everything that runs in its loop. Two things it does not do are done here. What was deleted while it or the API server was
away it does not tell: whenever it lists anew (events of type None), and now and then besides, the list is read once more and compared
with what is known. Kinds that the server does not name when kopf starts it never watches: so it is started when they are named.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import kopf

from matrix_crds.constants import GROUP, VERSION
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.errors import ForeignFault
from matrix_store.errors import StoreError, Unavailable
from matrix_store.kubernetes.connection import REQUEST_SECONDS
from matrix_store.kubernetes.known import Known
from matrix_store.kubernetes.manifests import stored
from matrix_store.kubernetes.paths import PLURALS, collection
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import Change, ChangeType

log = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""How long one watch lasts at the server; the client gives it up a little later."""
GRACE_SECONDS = 15
BACKOFF_SECONDS = 1.0
"""Between kopf's tries to reach an API server that is away. Its own series grows to 21 s: too long for a server that is back."""
COMPARE_AFTER_SECONDS = 0.5
COMPARE_EVERY_SECONDS = 300.0
COMPARE_AGAIN_SECONDS = 2.0
NAMED_SECONDS = 60.0
"""How long kinds that are served may take to be named."""
NAMED_AGAIN_SECONDS = 0.5
END_SECONDS = 10.0


class KopfFeed:
    """One feed for one engine. `age` and `stillness` are signs of life for health checks."""

    def __init__(self, store: KubernetesStore, login: KopfLogin, kinds: Sequence[str], namespaces: Sequence[str] = ()) -> None:
        """`namespaces`: only these; none for the whole cluster, which takes the right to list and watch in all of it."""
        self._store = store
        self._login = login
        self._kinds = tuple(kinds)
        self._namespaces = tuple(namespaces)
        self._known = Known()
        self._heard: asyncio.Queue[Mapping[str, Any] | str | None] = asyncio.Queue()
        """Events of kopf, kinds that are to be compared, None when kopf has ended."""
        self._comparing: set[str] = set()
        self._begun = time.monotonic()
        self._stop = threading.Event()
        """Ends kopf. A thread of kopf's waits for it, without which the event loop of a kopf that has ended by itself can't end."""
        self._ending = False

    @property
    def age(self) -> float:
        """Seconds since the API server last answered the quietest of kopf's watches. While all is well at most WATCH_SECONDS and a
        little more; grows while the server is away."""
        return self._login.silence(self._paths, self._begun)

    @property
    def stillness(self) -> float:
        """Seconds since kopf last did anything for one of its watches. Stays small while the server is away: kopf asks again and again."""
        return self._login.stillness(self._paths, self._begun)

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
        self._begun = time.monotonic()
        thread = threading.Thread(target=self._run, args=(loop,), name="kopf", daemon=True)
        thread.start()
        try:
            while (heard := await self._heard.get()) is not None:
                for change in await self._news(heard, loop):
                    yield change
            raise ForeignFault("kopf has ended by itself; its log says why")
        finally:
            self._ending = True
            self._stop.set()
            await asyncio.to_thread(thread.join, END_SECONDS)

    async def _news(self, heard: Mapping[str, Any] | str, loop: asyncio.AbstractEventLoop) -> list[Change]:
        if isinstance(heard, str):
            return await self._compare(heard, loop)
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
        """All of a kind. Of several namespaces the lists are of different moments, of which the first is safe: nothing that comes
        from kopf is told in between."""
        lists = [await self._store.list_at(kind, namespace) for namespace in self._namespaces or (None,)]
        return self._known.listed(kind, [item for items, _ in lists for item in items], min(version for _, version in lists))

    @property
    def _paths(self) -> list[str]:
        return [collection(kind, namespace) for kind in self._kinds for namespace in self._namespaces or (None,)]

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread. However it ends, the reader is told."""
        try:
            asyncio.run(self._kopf(loop))
        except Exception:
            log.exception("kopf failed")
        finally:
            if not self._ending:
                loop.call_soon_threadsafe(self._heard.put_nowait, None)

    async def _kopf(self, loop: asyncio.AbstractEventLoop) -> None:
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        _configure(settings)

        def hear(event: Mapping[str, Any], **_: Any) -> None:
            loop.call_soon_threadsafe(self._heard.put_nowait, {"type": event["type"], "object": event["object"]})

        kopf.on.login(registry=registry)(self._login.login)
        for kind in self._kinds:
            kopf.on.event(GROUP, VERSION, PLURALS[kind], registry=registry)(hear)
        try:
            await kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
            )
        finally:
            self._stop.set()


class _Always:
    """A pause, as often as it is wanted: with a finite series kopf gives up for good when the server goes on answering with errors."""

    def __iter__(self) -> Iterator[float]:
        return itertools.repeat(BACKOFF_SECONDS)


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.scanning.disabled = True  # no right to look at CRDs and namespaces is needed
    settings.posting.enabled = False
    settings.networking.error_backoffs = _Always()
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = GRACE_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + GRACE_SECONDS
