"""What there is of a kind, kept up to date by a watch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from matrix_store.kubernetes.follow import Follower
from tests.lab.kuberay.client import Client, Key, Object, key_of


class Cache:
    """All objects at a path. Each change is told to `changed` after it is in here."""

    def __init__(
        self, client: Client, path: str, group: Callable[[Object], Key] = key_of, selectors: Mapping[str, str] | None = None
    ) -> None:
        """`group`: under which key `grouped` finds an object."""
        self.changed: list[Callable[[Object], None]] = []
        self.follower = Follower(client.api, path, self, selectors)
        self._group = group
        self._objects: dict[Key, Object] = {}
        self._groups: defaultdict[Key, dict[Key, Object]] = defaultdict(dict)
        self._gone: set[str] = set()

    def listed(self, items: list[Object], version: int) -> None:
        there = {item["metadata"]["uid"] for item in items}
        for known in self.all():
            if known["metadata"]["uid"] not in there and int(known["metadata"]["resourceVersion"]) <= version:
                self.absent(known)
        for item in items:
            self.present(item)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def all(self) -> list[Object]:
        return list(self._objects.values())

    def grouped(self, key: Key) -> list[Object]:
        return list(self._groups.get(key, {}).values())

    def present(self, raw: Object) -> None:
        """What a call of ours or the watch has answered; what is older than what is here, or gone already, is passed over."""
        key, metadata = key_of(raw), raw["metadata"]
        known = self._objects.get(key)
        if metadata["uid"] in self._gone or (known and int(known["metadata"]["resourceVersion"]) >= int(metadata["resourceVersion"])):
            return
        self._objects[key] = raw
        self._groups[self._group(raw)][key] = raw
        self._tell(raw)

    def absent(self, raw: Object) -> None:
        """It is gone."""
        key, uid = key_of(raw), raw["metadata"]["uid"]
        self._gone.add(uid)
        known = self._objects.get(key)
        if known and known["metadata"]["uid"] == uid:
            del self._objects[key]
            group = self._groups[self._group(known)]
            group.pop(key, None)
            if not group:
                del self._groups[self._group(known)]
            self._tell(known)

    def _tell(self, found: Object) -> None:
        for listener in self.changed:
            listener(found)
