"""One life of kopf: in a thread with an event loop of its own, because at its end it cancels everything that runs in its loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import kopf

from matrix_crds.constants import GROUP, VERSION
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.engines.process import run
from matrix_store.kubernetes.connection import REQUEST_SECONDS
from matrix_store.kubernetes.paths import PLURALS

log = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""How long one watch lasts at the server; the client gives it up a little later."""
GRACE_SECONDS = 15
BACKOFF_SECONDS = 1.0
"""Between kopf's tries to reach an API server that is away. Its own series grows to 21 s: too long for a server that is back."""
END_SECONDS = 10.0

Event = Mapping[str, Any]
"""As kopf hands it over: `type` (None for what a list has) and `object`."""


class KopfThread:
    """Lists and watches from `start` on, and tells of every event in the loop of whoever started it."""

    def __init__(self, login: KopfLogin, kinds: Sequence[str], namespaces: Sequence[str], tell: Callable[[Event | None], object]) -> None:
        """`tell` gets the events, and None when kopf has ended by itself."""
        self._login = login
        self._kinds = kinds
        self._namespaces = namespaces
        self._tell = tell
        self._stop = threading.Event()
        """Ends kopf. A thread of kopf's waits for it, without which the event loop of a kopf that has ended by itself can't end."""
        self._ending = False
        self._told = False
        self._begun = 0.0
        self._thread: threading.Thread | None = None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._begun

    def start(self) -> None:
        """Returns at once."""
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(asyncio.get_running_loop(),), name="kopf", daemon=True)
        self._thread.start()

    async def end(self) -> None:
        """Nothing is told from now on."""
        self._ending = True
        self._stop.set()
        if self._thread is None:
            return
        await asyncio.to_thread(self._thread.join, END_SECONDS)
        if self._thread.is_alive():
            log.warning("a kopf that was to end has not within %.0f s: it is left to itself", END_SECONDS)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread. However it ends, the reader is told."""
        try:
            run(self._kopf(loop))
        except Exception as error:
            log.warning("kopf has ended: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        finally:
            self._over(loop)

    def _over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stop.set()
        if not self._ending and not self._told:
            self._told = True
            loop.call_soon_threadsafe(self._tell, None)

    async def _kopf(self, loop: asyncio.AbstractEventLoop) -> None:
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        _configure(settings)

        async def hear(event: Event, **_: Any) -> None:
            # A function that is not asynchronous kopf would hand to a pool of threads for every event.
            if not self._ending:
                loop.call_soon_threadsafe(self._tell, {"type": event["type"], "object": event["object"]})

        kopf.on.login(registry=registry)(self._login.login)
        for kind in self._kinds:
            kopf.on.event(GROUP, VERSION, PLURALS[kind], registry=registry)(hear)
        asyncio.get_running_loop().set_exception_handler(_leftover)
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # None of them ends while all is well. What follows may take for ever: a watch that breaks off meanwhile waits for a new login.
        self._over(loop)
        await kopf.run_tasks(tasks, ignored=others)


def _leftover(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of what fails where nobody waits for it: mostly of a kopf that ends."""
    log.debug("in kopf's loop: %s (%r)", context["message"], context.get("exception"))


class _Always:
    """A pause, as often as it is wanted: with a finite series kopf gives up for good when the server goes on answering with errors."""

    def __iter__(self) -> Iterator[float]:
        return itertools.repeat(BACKOFF_SECONDS)


class _NothingKept(kopf.DiffBaseStorage):
    """No state of an object to compare the next one with: kopf would copy each object for it, and nobody here asks what has changed."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """There is no handler for which it would be."""


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.persistence.diffbase_storage = _NothingKept()
    settings.scanning.disabled = True  # no right to look at CRDs and namespaces is needed
    settings.posting.enabled = False
    settings.networking.error_backoffs = _Always()
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = GRACE_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + GRACE_SECONDS
