"""What a user sees while a part of a cluster is away: what `why` and `get` say, what becomes of the requests, how long it takes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType

from matrix_cli import causes
from matrix_crds.keys import ObjectKey
from matrix_store.port import Event
from tests.e2e.product.inside import NAMESPACE, Inside, Objects, Traffic
from tests.e2e.product.product import until

SEEN_SECONDS = 2.0
"""An outage that lasts longer must be told by `matrix why`."""


class Outage:
    """A context, entered while all is well; requests go on all the time."""

    def __init__(self, inside: Inside, model: str) -> None:
        self.inside = inside
        self.model = model
        self.told: list[str] = []
        """Everything different that `matrix why` and `matrix get` said while something was wrong."""
        self.explained: list[str] = []
        """The same of what `matrix why` would have said, looked up without starting it: that takes seconds on a busy machine."""
        self.traffic = Traffic(inside.product.home, model)
        self._objects = Objects(inside.product.home)
        self._over = threading.Event()
        self._listeners = [threading.Thread(target=work, name=work.__name__) for work in (self._listen, self._explain)]
        self._begun = time.time()
        self._ended: float | None = None

    def __enter__(self) -> Outage:
        self.traffic.__enter__()
        until(lambda: self.traffic.pieces > 3, 60, lambda: f"no answer before the outage: {self.traffic.errors}")
        for listener in self._listeners:
            listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_listening()
        self.traffic.__exit__(kind, error, trace)
        self._objects.__exit__(kind, error, trace)

    def kill(self, pid: int) -> None:
        self.begin()
        os.kill(pid, signal.SIGKILL)

    def begin(self) -> None:
        """What is told from now on counts."""
        self._begun = time.time()

    def begin_recovery(self) -> None:
        """The time that `recover` returns counts from now."""
        self._ended = time.time()

    def until_unknown(self, timeout: float) -> float:
        """Wait until BackendReachable is Unknown and `matrix why` has said so. Returns the seconds since the beginning."""

        def unknown() -> bool:
            return self._objects.condition("MatrixCluster", self.inside.name, "BackendReachable").get("status") == "Unknown"

        until(unknown, timeout, lambda: f"BackendReachable: {self._objects.status('MatrixCluster', self.inside.name)}")
        seconds = time.time() - self._begun
        until(lambda: "nothing is changed until it answers" in "".join(self.told), 60, lambda: f"told {self.told}")
        return seconds

    def recover(self, restored: Callable[[], bool], timeout: float = 90) -> float:
        """Wait until `restored()` and both objects are Ready again. Returns the seconds since the kill, or `begin_recovery`."""
        until(lambda: restored() and self._ready(), timeout, lambda: f"not back: {self.reasons()}, told {self.told}")
        seconds = time.time() - (self._ended or self._begun)
        pieces = self.traffic.pieces
        until(lambda: self.traffic.pieces > pieces + 3, 60, lambda: f"Ready, but no answers: {self.traffic.errors}")
        self._end_listening()
        return seconds

    def reasons(self) -> set[str]:
        """Of the conditions that were not True at some time since the kill, as `Kind/Type=Reason`."""
        events = (event for event in self._objects.events(self._begun) if _bad(event))
        return {f"{event.key.kind}/{event.message.split('=')[0]}={event.reason}" for event in events}

    def statuses(self) -> set[str]:
        """Every status that a condition had since the kill, as `Kind/Type=Status`."""
        return {f"{event.key.kind}/{event.message.split(':')[0]}" for event in self._objects.events(self._begun)}

    def unready_seconds(self) -> float:
        """From the first condition that was not True to the last that was; 0 when the controller saw nothing."""
        events = self._objects.events(self._begun)
        bad = [event.last.timestamp() for event in events if _bad(event)]
        return max(event.last.timestamp() for event in events) - min(bad) if bad else 0.0

    def noticed_after(self) -> float:
        """Seconds from the kill to the first condition that was not True."""
        return min(event.last.timestamp() for event in self._objects.events(self._begun) if _bad(event)) - self._begun

    def assert_told(self, event: str, why: str) -> None:
        """An event has the words, and `matrix why` had its own while the outage lasted, if that was long enough."""
        messages = [item.message for item in self._objects.events(self._begun)]
        assert any(event in message for message in messages), f"{event!r} in none of {messages}"
        if self.unready_seconds() > SEEN_SECONDS:
            assert why in "\n".join((*self.told, *self.explained)), f"{why!r} not in {self.told} nor {self.explained}"

    def _ready(self) -> bool:
        return self._objects.is_ready("MatrixCluster", self.inside.name) and self._objects.is_ready("ModelDeployment", self.model)

    def _end_listening(self) -> None:
        self._over.set()
        for listener in self._listeners:
            if listener.is_alive():
                listener.join()

    def _explain(self) -> None:
        key = ObjectKey("ModelDeployment", NAMESPACE, self.model)
        while not self._over.wait(0.05):
            if not self._ready():
                links = causes.explain(key, causes.Snapshot(self._objects.all(), None))
                text = "\n".join(f"{link.subject} {link.statement}" for link in links)
                if text not in self.explained:
                    self.explained.append(text)

    def _listen(self) -> None:
        product = self.inside.product
        while not self._over.is_set():
            if self._ready():
                time.sleep(0.1)
                continue
            for command in (("why", f"mxd/{self.model}"), ("get", "matrix")):
                answer = product.run(*command)
                assert "Traceback" not in answer.stderr, answer.stderr
                if answer.stdout not in self.told:
                    self.told.append(answer.stdout)


def _bad(event: Event) -> bool:
    """A condition that became something else than True."""
    return "=True" not in event.message.split(":")[0]
