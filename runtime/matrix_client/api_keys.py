"""The keys that were issued for a cluster's gateway: one file beside the cluster's tokens. Digests only; a key itself is never kept."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from matrix_client.errors import KeysUnreadable, NotReady
from matrix_proto.keys import KEYS_FILE, PREFIX, ApiKey, ApiKeys, digest
from matrix_store.files import replace_file
from matrix_store.home import Home
from matrix_store.port import StoredObject

KEY_BYTES = 32
ID_BYTES = 4
LOCK_SECONDS = 10.0
"""For another writer to be done, which takes milliseconds."""
LOCK_PAUSE_SECONDS = 0.02
_LOCK = ".api-keys.lock"


class KeysFile:
    """The file of one cluster. Whoever reads it sees it whole: the old one or the new one."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / KEYS_FILE

    @classmethod
    def of(cls, home: Home, cluster: StoredObject) -> KeysFile:
        """That of a cluster of a state directory. Raises NotReady before its secrets are made."""
        directory = home.cluster(cluster.uid) / "secrets"
        if not directory.is_dir():
            raise NotReady(cluster.key, "", f"it has not been started yet; see `matrix why {cluster.key}`")
        return cls(directory)

    def read(self) -> ApiKeys:
        """Raises KeysUnreadable."""
        try:
            return ApiKeys.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return ApiKeys()
        except OSError as error:
            raise KeysUnreadable(f"{self.path} can't be read: {error.strerror}") from error
        except ValidationError as error:
            raise KeysUnreadable(f"{self.path} is damaged; move it away and issue the keys anew") from error

    def change(self, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        """Read, change and write, with every other writer kept out. Raises KeysUnreadable and what `change` raises."""
        with self._locked():
            keys = change(self.read())
            try:
                replace_file(self.path, keys.model_dump_json(by_alias=True, indent=2).encode())
            except OSError as error:
                raise KeysUnreadable(f"{self.path} can't be written: {error.strerror}") from error
        return keys

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.path.with_name(_LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeysUnreadable(f"{self.path.parent} can't be written to: {error.strerror}") from error
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    raise KeysUnreadable(f"{self.path} is being changed by another process for {LOCK_SECONDS:g} s; try again") from error
            time.sleep(LOCK_PAUSE_SECONDS)


def issue(name: str, now: datetime, expires_in: float | None = None, requests_per_minute: int | None = None) -> tuple[str, ApiKey]:
    """A new key, to be shown once, and its record. `expires_in` in seconds."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    expires = None if expires_in is None else now + timedelta(seconds=expires_in)
    record = ApiKey(
        id=secrets.token_hex(ID_BYTES), name=name, digest=digest(key), created=now, expires=expires, requests_per_minute=requests_per_minute
    )
    return key, record
