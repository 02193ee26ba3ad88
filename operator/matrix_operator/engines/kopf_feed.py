"""The changes of our kinds as kopf's watches tell them: what wakes the engine on Kubernetes.

kopf lists and watches, and nothing else: no handler of its own sort (create, update, delete, daemon, timer), so it puts no finalizer
and no annotation on objects, and needs to list and watch only. Four things it does not do are done here. What was deleted while it or
the API server was away it does not tell: whenever it lists anew (events of type None), and now and then besides, the list is read once
more and compared with what is known. What others have written until now it tells whenever its watch does: whoever must know reads the
list (`catch_up`). Kinds that the server does not name when kopf starts it never watches: so it is started when they are named. And it
ends when a kind goes (its CRD was deleted), or a watch meets an error: then another one is started, once all kinds are there (again).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.engines.kopf_thread import Event, KopfThread
from matrix_operator.engines.kubernetes_preflight import INSTALL
from matrix_operator.errors import ForeignFault
from matrix_store.errors import StoreError, Unavailable
from matrix_store.kubernetes.faults import KindUnknown
from matrix_store.kubernetes.known import Known
from matrix_store.kubernetes.manifests import stored
from matrix_store.kubernetes.paths import collection
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import Change, ChangeType
from matrix_store.wire import compact

log = logging.getLogger(__name__)

COMPARE_AFTER_SECONDS = 0.5
COMPARE_EVERY_SECONDS = 300.0
COMPARE_AGAIN_SECONDS = 2.0
NAMED_SECONDS = 60.0
"""How long kinds that are served may take to be named."""
NAMED_AGAIN_SECONDS = 0.5
ABSENT_AGAIN_SECONDS = 2.0
"""Between two looks whether a kind that has gone is back."""
PAUSE_SECONDS = 1.0
"""Between two lives of kopf."""
STEADY_SECONDS = 60.0
LIVES = 5
"""So many that are shorter than STEADY_SECONDS, in a row and with all kinds there, mean that another would fare no better."""


@dataclass
class _CatchUp:
    """A kind that is to be read whole."""

    kind: str
    read: bool = False
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """What was read has gone on."""


class KopfFeed:
    """One feed for one engine. `age`, `stillness` and `absent` are for health checks."""

    def __init__(self, store: KubernetesStore, login: KopfLogin, kinds: Sequence[str], namespaces: Sequence[str] = ()) -> None:
        """`namespaces`: only these; none for the whole cluster, which takes the right to list and watch in all of it."""
        self._store = store
        self._login = login
        self._kinds = tuple(kinds)
        self._namespaces = tuple(namespaces)
        self._known = Known()
        self._heard: asyncio.Queue[Event | str | _CatchUp | None] = asyncio.Queue()
        """Events of kopf, kinds that are to be compared or caught up with, None when kopf has ended."""
        self._comparing: set[str] = set()
        self._begun = time.monotonic()
        self._short = 0
        """Lives of kopf that were short, in a row."""
        self.absent = ""
        """Which kinds the API server does not know any more and what to do, in words; empty while it knows all."""

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
        """As Store.watch. Raises StoreError if what exists can't be listed at first, ForeignFault when kopf ends again and again."""
        for kind in self._kinds:
            for change in await self._listed(kind):
                yield change
        yield Change(ChangeType.SYNCED)
        await self._named()
        for kind in self._kinds:
            self._compare_in(COMPARE_EVERY_SECONDS, kind)
        while True:
            thread = KopfThread(self._login, self._kinds, self._namespaces, self._heard.put_nowait)
            self._begun = time.monotonic()
            thread.start()
            try:
                while (heard := await self._heard.get()) is not None:
                    for change in await self._news(heard):
                        yield change
                    if isinstance(heard, _CatchUp) and heard.read:
                        heard.taken.set()
            finally:
                await thread.end()
            await self._outlive(thread)
            for kind in self._kinds:
                self._compare_soon(kind)

    async def catch_up(self) -> None:
        """Returns when whoever reads `changes` has taken all that the API server has now."""
        kinds = [_CatchUp(kind) for kind in self._kinds]
        for kind in kinds:
            self._heard.put_nowait(kind)
        for kind in kinds:
            await kind.taken.wait()

    async def _news(self, heard: Event | str | _CatchUp) -> list[Change]:
        if isinstance(heard, _CatchUp):
            return await self._read(heard)
        if isinstance(heard, str):
            return await self._compare(heard)
        item = stored(compact(heard["object"]))
        if heard["type"] == "DELETED":
            return self._known.absent(item.key, item.uid)
        if heard["type"] is None:
            self._compare_soon(item.key.kind)
        return self._known.present(item)

    async def _named(self) -> None:
        """Returns when the API server names all kinds. Raises Unavailable."""
        deadline = time.monotonic() + NAMED_SECONDS
        while missing := set(self._kinds) - await self._store.served_kinds():
            if time.monotonic() > deadline:
                raise Unavailable(f"the API server does not name {', '.join(sorted(missing))} among what it has: are the CRDs current?")
            await asyncio.sleep(NAMED_AGAIN_SECONDS)

    # --- after a life of kopf ---

    async def _outlive(self, thread: KopfThread) -> None:
        """Returns when another can begin. Nothing is told to be gone meanwhile: an object of a kind that is not known is not known to be
        gone. Raises ForeignFault when another would not help."""
        self._short = self._short + 1 if thread.age < STEADY_SECONDS else 1
        try:
            while self._told(await self._gone()):
                self._short = 0
                await self._pause(ABSENT_AGAIN_SECONDS)
        finally:
            self.absent = ""
        if self._short >= LIVES:
            raise ForeignFault(f"kopf has ended by itself {LIVES} times in a row; the log says why")
        await self._pause(PAUSE_SECONDS)
        log.warning("kopf has ended by itself; another one is started")

    def _told(self, gone: set[str]) -> set[str]:
        """The same; logged when it is another than before."""
        words = f"the API server does not know {', '.join(sorted(gone))} any more; {INSTALL}" if gone else ""
        if words and words != self.absent:
            log.warning("%s; waiting for it", words)
        self.absent = words
        return gone

    async def _gone(self) -> set[str]:
        """The kinds that the API server says it does not have. While it does not say, it is asked again."""
        while True:
            try:
                return set(self._kinds) - await self._store.served_kinds()
            except KindUnknown:
                return set(self._kinds)
            except StoreError as error:
                log.warning("whether the API server has our kinds can't be seen: %s; again in %.0f s", error, ABSENT_AGAIN_SECONDS)
            await self._pause(ABSENT_AGAIN_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """There is no watch that could be quiet."""
        self._begun = time.monotonic()
        await asyncio.sleep(seconds)
        self._begun = time.monotonic()

    # --- comparing ---

    def _compare_soon(self, kind: str) -> None:
        if kind not in self._comparing:
            self._comparing.add(kind)
            self._compare_in(COMPARE_AFTER_SECONDS, kind)

    def _compare_in(self, seconds: float, kind: str) -> None:
        asyncio.get_running_loop().call_later(seconds, self._heard.put_nowait, kind)

    async def _compare(self, kind: str) -> list[Change]:
        changes = await self._listed_or_later(kind, kind)
        if changes is None:
            return []
        if kind in self._comparing:
            self._comparing.discard(kind)
        else:  # the one of every now and then
            self._compare_in(COMPARE_EVERY_SECONDS, kind)
        return changes

    async def _read(self, wanted: _CatchUp) -> list[Change]:
        changes = await self._listed_or_later(wanted.kind, wanted)
        wanted.read = changes is not None
        return changes or []

    async def _listed_or_later(self, kind: str, heard: str | _CatchUp) -> list[Change] | None:
        """None if it can't be listed now: then the same is heard once more."""
        try:
            return await self._listed(kind)
        except StoreError as error:
            log.warning("comparing the list of %s: %s; again in %.0f s", kind, error, COMPARE_AGAIN_SECONDS)
            asyncio.get_running_loop().call_later(COMPARE_AGAIN_SECONDS, self._heard.put_nowait, heard)
            return None

    async def _listed(self, kind: str) -> list[Change]:
        """All of a kind. Of several namespaces the lists are of different moments, of which the first is safe: nothing that comes
        from kopf is told in between."""
        lists = [await self._store.list_at(kind, namespace) for namespace in self._namespaces or (None,)]
        return self._known.listed(kind, [item for items, _ in lists for item in items], min(version for _, version in lists))

    @property
    def _paths(self) -> list[str]:
        return [collection(kind, namespace) for kind in self._kinds for namespace in self._namespaces or (None,)]
