"""From a model's name to the replicas that answer, remembered: a script with a million requests does not read the store for each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from matrix_client.context import Context
from matrix_client.endpoints import Target, find
from matrix_client.fleet import Fleet
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound, StoreError

LOOK_SECONDS = 1.0
"""How often to look into the store, at most, while something is not as it should be."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a model."""

    target: Target
    fleet: Fleet | None
    """None while the cluster has no directory."""
    looked: float
    """When the store was read (time.monotonic)."""


class Routes:
    """One watch for each cluster, shared by all requests of a client."""

    def __init__(self, context: Context, namespace: str) -> None:
        self._context = context
        self._namespace = namespace
        self._routes: dict[str, Route] = {}
        self._fleets: dict[ObjectKey, tuple[tuple[str, str], Fleet]] = {}
        """By cluster, with the cluster's uid and the directory that its status names."""
        self._retired: list[Fleet] = []
        self._looking = asyncio.Lock()

    def known(self, model: str) -> Route | None:
        """The way, if nothing speaks against its being still the right one: the directory is followed, or the store was read just now."""
        route = self._routes.get(model)
        if route is None:
            return None
        followed = route.fleet is not None and route.fleet.watch.connected
        return route if followed or time.monotonic() - route.looked < LOOK_SECONDS else None

    async def look(self, model: str, since: float | None = None) -> Route:
        """The way by the store, as it was then (time.monotonic; default: LOOK_SECONDS ago) or later: those who ask at once share a look.
        Raises NotFound, and what the store raises."""
        since = time.monotonic() - LOOK_SECONDS if since is None else since
        async with self._looking:
            route = self._routes.get(model)
            if route is not None and route.looked >= since:
                return route
            begun = time.monotonic()
            target = await self._target(model, route)
            self._routes[model] = route = Route(target, await self._fleet(target), begun)
            return route

    def forget(self, model: str) -> None:
        """A replica says that this is the wrong way."""
        self._routes.pop(model, None)

    async def close(self) -> None:
        for fleet in (*(fleet for _, fleet in self._fleets.values()), *self._retired):
            await fleet.close()
        self._fleets.clear()
        self._retired.clear()

    async def _target(self, model: str, known: Route | None) -> Target:
        try:
            return await find(self._context, self._namespace, model)
        except NotFound:
            self._routes.pop(model, None)
            raise
        except StoreError:  # a failed look is not absence: the replicas may answer all the same
            if known is None:
                raise
            return known.target

    async def _fleet(self, target: Target) -> Fleet | None:
        cluster = target.cluster
        if cluster is None or not target.directory:
            return None
        identity = (cluster.uid, target.directory)
        known, fleet = self._fleets.get(cluster.key, (None, None))
        if fleet is not None and known == identity:
            return fleet
        way = await self._context.way(cluster)
        if fleet is not None:
            await fleet.retire()
            self._retired.append(fleet)
        fleet = Fleet(way, lambda: self._context.client_token(cluster))
        self._fleets[cluster.key] = (identity, fleet)
        return fleet
