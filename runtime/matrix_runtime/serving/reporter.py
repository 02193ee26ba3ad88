"""Tells the directory how the replica does: each second, and with every change. A thread of its own, so that nothing delays it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2

from matrix_proto.state import HEARTBEAT_SECONDS, REPLICAS_PATH, Replica, ReplicaState, StartFailure, StartPhase
from matrix_runtime.tokens import TokenFile

POST_SECONDS = 2.0
LAST_WORD_SECONDS = 5.0

Post = Callable[[Replica], None]
"""Sends one report; raises OSError when it does not arrive."""


def http_post(state_url: str, token: TokenFile) -> Post:
    """Reports over HTTP."""
    client = httpx2.Client(timeout=POST_SECONDS, trust_env=False)
    url = state_url.rstrip("/") + REPLICAS_PATH

    def post(replica: Replica) -> None:
        headers = {"Authorization": f"Bearer {token.read()}", "Content-Type": "application/json"}
        try:
            client.post(url, content=replica.model_dump_json(by_alias=True), headers=headers).raise_for_status()
        except httpx2.HTTPError as error:
            raise OSError(f"the directory did not take the report: {error}") from error

    return post


class Reporter:
    """Holds what is said about the replica. The directory's absence is survived: it hears the next report."""

    def __init__(self, replica: Replica, post: Post, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._replica = replica
        self._post = post
        self._clock = clock
        self._lock = threading.Lock()
        self._posting = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._beat, name="matrix-heartbeat", daemon=True)

    @property
    def replica(self) -> Replica:
        """What is being said now."""
        return self._replica

    def start(self) -> None:
        """Begins to report."""
        self._thread.start()

    def update(self, **changes: Any) -> None:
        """Changes fields of the report; `since` follows state and phase by itself."""
        with self._lock:
            moved = any(changes.get(field, getattr(self._replica, field)) != getattr(self._replica, field) for field in ("state", "phase"))
            since = {"since": self._clock()} if moved else {}
            new = self._replica.model_copy(update=changes | since)
            changed, self._replica = new != self._replica, new
        if changed:
            self._wake.set()

    def starting(self, phase: StartPhase, message: str, progress: Any = None) -> None:
        """It is starting, and does this."""
        self.update(state=ReplicaState.STARTING, phase=phase, message=message, progress=progress)

    def failed(self, failure: StartFailure) -> None:
        """The last word, said before this returns if the directory is there at all; then no more is said."""
        nowhere = {"http_url": None, "grpc_address": None}
        self.update(state=ReplicaState.FAILED, phase=None, progress=None, message=failure.message, failure=failure, **nowhere)
        self.stop()
        self._say_within(LAST_WORD_SECONDS)

    def stop(self) -> None:
        """No more reports after this."""
        self._stopped = True
        self._wake.set()

    def say_now(self) -> None:
        """Reports at once. Raises OSError when it does not arrive."""
        with self._posting:
            self._post(self._replica)

    def _say_within(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.say_now()
            except OSError:
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.2)

    def _beat(self) -> None:
        while not self._stopped:
            self._wake.clear()
            with contextlib.suppress(OSError), self._posting:
                if not self._stopped:
                    self._post(self._replica)
            self._wake.wait(HEARTBEAT_SECONDS)
