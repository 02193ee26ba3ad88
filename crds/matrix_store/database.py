"""The state file, opened: what a command uses that looks once and ends. Synchronous; importing it is cheap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from matrix_store.connection import BUSY_SECONDS, Connection
from matrix_store.events import Events
from matrix_store.filesystem import is_local
from matrix_store.lock import ControllerLock
from matrix_store.objects import Objects
from matrix_store.validation import Validator, model_validator
from matrix_store.watch import Follower


class Database:
    """Objects, events and lock of one state file. For any number of threads. Everything raises StoreErrors."""

    def __init__(
        self,
        path: Path,
        *,
        validator: Callable[[], Validator] = model_validator,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_seconds: float = BUSY_SECONDS,
        local: Callable[[Path], bool] = is_local,
    ) -> None:
        """Open it; create it, with its directory, when it is not there."""
        self.connection = Connection(path, busy_seconds, local)
        self.objects = Objects(self.connection, validator, clock)
        self.events = Events(self.connection)

    def follow(self, *kinds: str) -> Follower:
        """A watcher that is polled."""
        return Follower(self.connection, kinds)

    def lock(self) -> ControllerLock:
        """The controller's lock, for this process. One that holds it wants a Database of its own for it."""
        return ControllerLock(self.connection)

    def check(self) -> None:
        """Read the whole file for damage. Raises Corrupt."""
        self.connection.check()

    def close(self) -> None:
        self.connection.close()
