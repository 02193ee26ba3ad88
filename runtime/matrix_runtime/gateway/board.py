"""What the gateway knows: the declared models, the replicas as the directory told of them last, and which backend is whose."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import httpx2

from matrix_client.directory_watch import KnownReplica
from matrix_proto.state import STATE_PATH, Progress, ReplicaState, ReplicaView, State
from matrix_runtime.gateway.desired import answers_to
from matrix_runtime.gateway.settings import GatewaySettings, ServedModel
from matrix_runtime.gateway.slots import Slots
from matrix_runtime.system.bell import Bell
from matrix_runtime.tokens import TokenFile

ASK_SECONDS = 2.0

Look = Callable[[], Awaitable[State]]
"""The directory's whole state. Raises OSError."""


class Replicas(Protocol):
    """What a DirectoryWatch offers."""

    @property
    def replicas(self) -> Mapping[str, KnownReplica]: ...

    @property
    def connected(self) -> bool: ...

    @property
    def last_error(self) -> str: ...


class KnownBoard:
    """The port `Board` of the waiting room."""

    def __init__(self, watch: Replicas, look: Look) -> None:
        self._watch = watch
        self._look = look
        self._models: dict[str, ServedModel] = {}
        self._slots = Slots()
        self._backends: Mapping[str, str] = {}
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        """Served names, by application."""
        self._routed: set[tuple[str, str]] = set()
        """Application and served name of replicas."""
        self._bell = Bell()
        self._configured = self._met = False

    def configure(self, settings: GatewaySettings) -> None:
        """Takes the models that are declared now."""
        self._models = {model.name: model for model in settings.models}
        self._backends = self._slots.assign(self._models.values())
        self._names.clear()
        for model in self._models.values():
            self._names[model.application].add(model.name)
        self._configured = True
        self.ring()

    def ring(self) -> None:
        """Something has changed."""
        self._bell.ring()

    @property
    def changes(self) -> int:
        """How often something has changed."""
        return self._bell.rings

    def model(self, name: str) -> ServedModel | None:
        return self._models.get(name)

    def names(self) -> list[str]:
        return sorted(self._models)

    def backend(self, name: str) -> str | None:
        return self._backends.get(name)

    def up(self, application: str) -> bool:
        names = self._names.get(application, ())
        return any(of == application and answers_to(model, names) for of, model in self._routed)

    def routed(self, replicas: Mapping[str, KnownReplica]) -> None:
        """HAProxy has been told of these."""
        routed = {(replica.application, replica.model) for replica in replicas.values() if replica.state is ReplicaState.READY}
        if routed != self._routed:
            self._routed = routed
            self.ring()

    async def news(self, seconds: float) -> None:
        await self._bell.wait(seconds)

    async def describe(self, application: str) -> str:
        """The directory's own words if it answers, else what is known from before."""
        try:
            views = (await self._look()).replicas
        except OSError:
            states = Counter(r.state.value.lower() for r in self.replicas.values() if r.application == application)
            known = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            return f"the directory is away; last known: {known or 'no replica'}"
        return doing([view for view in views if view.application == application])

    def missing(self) -> str:
        """What has never been heard yet, in words; empty when all has. A directory that goes away later is survived."""
        self._met = self._met or self._watch.connected
        if not self._configured:
            return "the control plane has not said yet which models there are"
        return "" if self._met else self._watch.last_error

    @property
    def replicas(self) -> Mapping[str, KnownReplica]:
        return self._watch.replicas

    @property
    def backends(self) -> Mapping[str, str]:
        """Served name -> backend."""
        return self._backends

    @property
    def applications(self) -> Mapping[str, str]:
        """Backend -> application."""
        return self._slots.applications


def look_over_http(state_url: str, token: TokenFile) -> Look:
    """GET /matrix/v1/state."""
    client = httpx2.AsyncClient(timeout=ASK_SECONDS, trust_env=False)  # kept: making one takes 40 ms of CPU

    async def look() -> State:
        try:
            answer = await client.get(state_url.rstrip("/") + STATE_PATH, headers={"Authorization": f"Bearer {token.read()}"})
            return State.model_validate_json(answer.raise_for_status().content)
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"the directory does not answer: {error}") from error

    return shared(look)


def shared(look: Look) -> Look:
    """Those who ask while an answer is awaited get the same one: a crowd gives up waiting all at once."""
    looking: asyncio.Future[State] | None = None

    async def look_together() -> State:
        nonlocal looking
        if looking is None or looking.done():
            looking = asyncio.ensure_future(look())
        return await asyncio.shield(looking)

    return look_together


def doing(views: list[ReplicaView]) -> str:
    """What the replicas of a model that is not up are doing, in words."""
    starting = [view for view in views if view.state is ReplicaState.STARTING]
    failed = [view for view in views if view.state is ReplicaState.FAILED]
    if starting:
        latest = max(starting, key=lambda view: view.since)
        return f"a replica is starting ({' '.join(filter(None, (latest.phase, latest.message, _progress(latest.progress))))})"
    if failed:
        return f"the last start failed ({max(failed, key=lambda view: view.since).message})"
    return "a replica is stopping" if views else "no replica has been started yet"


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return ""
    return f"{progress.done:,} of {progress.total:,} {progress.unit}" if progress.total else f"{progress.done:,} {progress.unit}"
