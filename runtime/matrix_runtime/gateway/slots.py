"""Which backend of HAProxy a model has. They are made in advance, for each policy: a new model needs no reload, so no stream feels it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matrix_crds.deployment import RoutingPolicy
from matrix_runtime.gateway.limits import SLOTS
from matrix_runtime.gateway.settings import ServedModel

PREFIXES = {RoutingPolicy.LEAST_LOADED: "least", RoutingPolicy.ROUND_ROBIN: "round", RoutingPolicy.PREFIX: "prefix"}
GRPC_SUFFIX = "-grpc"
SIDECAR = "sidecar"
"""The one backend that is not a model's."""

_Key = tuple[str, RoutingPolicy]


def slot_names(count: int = SLOTS) -> dict[RoutingPolicy, tuple[str, ...]]:
    """The names of all backends, by policy."""
    return {policy: tuple(f"{prefix}-{number}" for number in range(count)) for policy, prefix in PREFIXES.items()}


class Slots:
    """Remembers who has which: an application keeps its backend, and one that was given back is used again last of all."""

    def __init__(self, count: int = SLOTS) -> None:
        self._free = {policy: list(names) for policy, names in slot_names(count).items()}
        self._taken: dict[_Key, str] = {}

    def assign(self, models: Iterable[ServedModel]) -> dict[str, str]:
        """Served name -> backend. A model that finds none free is left out."""
        models = list(models)
        wanted = dict.fromkeys((model.application, model.policy) for model in models)
        for key in [key for key in self._taken if key not in wanted]:
            self._free[key[1]].append(self._taken.pop(key))
        for key in wanted:
            if key not in self._taken and self._free[key[1]]:
                self._taken[key] = self._free[key[1]].pop(0)
        keys = {model.name: (model.application, model.policy) for model in models}
        return {name: self._taken[key] for name, key in keys.items() if key in self._taken}

    @property
    def applications(self) -> Mapping[str, str]:
        """Backend -> application."""
        return {slot: application for (application, _), slot in self._taken.items()}
