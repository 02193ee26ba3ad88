"""Objects in memory, found by what they belong to: a sink of a Follower."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

from matrix_operator.backends.kuberay.names import Object
from matrix_store.wire import dumps, loads

_NOTHING: Mapping[str, tuple[str, bytes]] = MappingProxyType({})


class Index:
    """The last state of each object of a collection, as JSON text: a fraction of what it takes as dicts, and seldom read."""

    def __init__(self, belongs: Callable[[Object], Hashable | None], slim: Callable[[Object], Object]) -> None:
        """`belongs`: what it is found by; None for an object that is not kept. `slim`: what is kept of it."""
        self._belongs = belongs
        self._slim = slim
        self._objects: defaultdict[Hashable, dict[str, tuple[str, bytes]]] = defaultdict(dict)
        """By place and uid: the version, and the text."""
        self._places: dict[str, Hashable] = {}
        self._versions: dict[Hashable, tuple[tuple[str, str], ...]] = {}
        """By place, until something of it changes."""

    def of(self, place: Hashable) -> tuple[Object, ...]:
        """All that belongs there."""
        return tuple(loads(text) for _, text in self._objects.get(place, _NOTHING).values())

    def versions(self, place: Hashable) -> tuple[tuple[str, str], ...]:
        """Uid and version of all that belongs there, which costs next to nothing: others whenever any of it has changed."""
        found = self._versions.get(place)
        if found is None and place in self._objects:
            found = self._versions[place] = tuple((uid, version) for uid, (version, _) in self._objects[place].items())
        return found or ()

    def __len__(self) -> int:
        return len(self._places)

    def listed(self, items: list[Object], version: int) -> None:
        """What is not among them is gone."""
        self._objects.clear()
        self._places.clear()
        self._versions.clear()
        for item in items:
            self.present(item)

    def present(self, raw: Object) -> None:
        place, uid = self._belongs(raw), str(raw["metadata"]["uid"])
        if self._places.get(uid) != place:
            self.absent(raw)
        if place is not None:
            self._places[uid] = place
            self._versions.pop(place, None)
            text = dumps(self._slim(raw))
            self._objects[place][uid] = str(raw["metadata"]["resourceVersion"]), text

    def absent(self, raw: Object) -> None:
        uid = str(raw["metadata"]["uid"])
        place = self._places.pop(uid, None)
        if place is not None:
            self._versions.pop(place, None)
            self._objects[place].pop(uid, None)
            if not self._objects[place]:
                del self._objects[place]
