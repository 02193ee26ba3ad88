"""Store.watch on the API server: some kinds of ours, each followed (follow.py), told as one stream of changes.

What was told is remembered, so after a gap (the server was down, or has forgotten) the list is compared with it: what has gone meanwhile
is told as Deleted, although no DELETED ever arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.follow import GRACE_SECONDS, WATCH_SECONDS, Follower
from matrix_store.kubernetes.known import Known
from matrix_store.kubernetes.manifests import stored, stored_items
from matrix_store.port import Change, ChangeType, Raw


class Watch:
    """One reader of some kinds, each followed by a task of its own."""

    def __init__(self, api: Api, collections: Mapping[str, str], seconds: float = WATCH_SECONDS, grace: float = GRACE_SECONDS) -> None:
        """`collections`: the path of each kind."""
        self._told: asyncio.Queue[Change | Exception | None] = asyncio.Queue()
        self._unlisted = set(collections)
        self._followers = [
            Follower(api, path, _Kind(kind, self._told, self._listed), seconds=seconds, grace=grace) for kind, path in collections.items()
        ]

    async def changes(self) -> AsyncIterator[Change]:
        """As Store.watch. An error before everything that exists was told is raised; later ones are waited out and logged."""
        tasks = [asyncio.create_task(self._run(follower)) for follower in self._followers]
        try:
            while (told := await self._told.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End the iteration."""
        self._told.put_nowait(None)

    async def _run(self, follower: Follower) -> None:
        try:
            await follower.run()
        except Exception as error:
            self._told.put_nowait(error)

    def _listed(self, kind: str) -> None:
        if kind in self._unlisted:
            self._unlisted.discard(kind)
            if not self._unlisted:
                self._told.put_nowait(Change(ChangeType.SYNCED))


class _Kind:
    """The sink of one kind."""

    def __init__(self, kind: str, told: asyncio.Queue[Change | Exception | None], when_listed: Callable[[str], None]) -> None:
        self._kind = kind
        self._told = told
        self._when_listed = when_listed
        self._known = Known()

    def listed(self, items: list[Raw], version: int) -> None:
        self._tell(self._known.listed(self._kind, stored_items(self._kind, items), version))
        self._when_listed(self._kind)

    def present(self, raw: Raw) -> None:
        self._tell(self._known.present(stored(raw)))

    def absent(self, raw: Raw) -> None:
        item = stored(raw)
        self._tell(self._known.absent(item.key, item.uid))

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self._told.put_nowait(change)
