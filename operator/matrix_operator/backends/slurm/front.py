"""Where users find the clusters of a site: at the very addresses at which the controller reaches them, or elsewhere."""

from __future__ import annotations

from typing import Protocol

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.port import PublicAddress
from matrix_operator.backends.slurm.sites import Sites
from matrix_operator.backends.slurm.template import slurm_of
from matrix_proto.bridge_pb2 import TunnelTarget


class Front(Protocol):
    """One way for the users of all clusters."""

    async def open(self, cluster: MatrixCluster) -> PublicAddress | None:
        """None while there is no head. Called again and again. Raises BackendRefusal, StoreError."""
        ...

    async def close(self, cluster: MatrixCluster) -> None:
        """The cluster has gone, or outlives its object. Raises StoreError."""
        ...


class Direct:
    """They are where the controller is: on the same machine as the ends of the tunnels, or at the site itself."""

    def __init__(self, sites: Sites, scope: EndpointScope) -> None:
        self._sites = sites
        self._scope = scope

    async def open(self, cluster: MatrixCluster) -> PublicAddress | None:
        targets = (TunnelTarget.GATEWAY, TunnelTarget.DIRECTORY, TunnelTarget.DASHBOARD, TunnelTarget.STATE)
        site, uid = slurm_of(cluster.spec).site, cluster.metadata.uid
        found = [await self._sites.reach(site, uid, target) for target in targets]
        gateway, directory, dashboard, state = found
        if not (gateway and directory and dashboard and state):
            return None
        return PublicAddress(f"http://{gateway}", directory, f"http://{dashboard}", f"http://{state}", self._scope)

    async def close(self, cluster: MatrixCluster) -> None:
        """There is nothing to close: what the addresses lead to ends by itself."""
