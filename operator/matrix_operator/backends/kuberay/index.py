"""Objects in memory, found by what they belong to: a sink of a Follower."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable

from matrix_operator.backends.kuberay.names import Object


class Index:
    """The last state of each object of a collection, as JSON text: a sixth of what it takes as dicts, and read once in many seconds."""

    def __init__(self, belongs: Callable[[Object], Hashable | None], slim: Callable[[Object], Object]) -> None:
        """`belongs`: what it is found by; None for an object that is not kept. `slim`: what is kept of it."""
        self._belongs = belongs
        self._slim = slim
        self._objects: defaultdict[Hashable, dict[str, bytes]] = defaultdict(dict)
        self._places: dict[str, Hashable] = {}

    def of(self, place: Hashable) -> tuple[Object, ...]:
        """All that belongs there."""
        return tuple(json.loads(text) for text in self._objects[place].values()) if place in self._objects else ()

    def __len__(self) -> int:
        return len(self._places)

    def listed(self, items: list[Object], version: int) -> None:
        """What is not among them is gone."""
        self._objects.clear()
        self._places.clear()
        for item in items:
            self.present(item)

    def present(self, raw: Object) -> None:
        place, uid = self._belongs(raw), str(raw["metadata"]["uid"])
        if self._places.get(uid) != place:
            self.absent(raw)
        if place is not None:
            self._places[uid] = place
            self._objects[place][uid] = json.dumps(self._slim(raw), separators=(",", ":")).encode()

    def absent(self, raw: Object) -> None:
        uid = str(raw["metadata"]["uid"])
        place = self._places.pop(uid, None)
        if place is not None:
            self._objects[place].pop(uid, None)
            if not self._objects[place]:
                del self._objects[place]
