"""What the control plane tells the gateway, live: Serve's user_config."""

from __future__ import annotations

from matrix_crds.base import LenientModel
from matrix_crds.deployment import RoutingPolicy


class ServedModel(LenientModel):
    """A model that is declared, whether or not a replica of it is up."""

    name: str
    """The served name: what requests carry as `model`."""
    application: str
    """mx-md-<ModelDeployment name>: whose replicas answer."""
    policy: RoutingPolicy = RoutingPolicy.LEAST_LOADED
    replicas: int | None = None
    """How many are wanted; with 0 requests are refused at once. None: not told, so one may come."""


class GatewaySettings(LenientModel):
    """Changed live."""

    models: tuple[ServedModel, ...] = ()
