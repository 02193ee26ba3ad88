"""Weights for the fewest-connections policy, so that it counts the requests that reach a replica past the gateway as well.

HAProxy evens out connections / weight, of its own connections only. With a weight proportional to a replica's fair share less what it
has from others, all of them end up with the same load.
"""

from __future__ import annotations

from collections.abc import Mapping

FULL_WEIGHT = 100
TOLERANCE = 15
"""A smaller difference is noise: loads are up to a second old."""


def weights(loads: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """`loads`: id -> (requests through this gateway now, all requests as the replica reports them). Returns 1 to FULL_WEIGHT each."""
    if not loads:
        return {}
    others = {id_: max(0, everything - own) for id_, (own, everything) in loads.items()}
    if not any(others.values()):
        return dict.fromkeys(loads, FULL_WEIGHT)
    total = sum(own + others[id_] for id_, (own, _) in loads.items())
    share = (total + len(loads)) / len(loads)  # as many as each would have with one more request for all
    room = {id_: max(0.0, share - other) for id_, other in others.items()}
    most = max(room.values()) or 1.0
    return {id_: max(1, round(FULL_WEIGHT * free / most)) for id_, free in room.items()}
