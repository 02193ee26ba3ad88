"""Where pods find the clusters of sites: a Service for each, in its namespace, that leads to the ends of its tunnels.

Those are ports of the one operator that acts. So the Service has no selector; its EndpointSlice names that operator's pod, and is written
anew by whichever takes over.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay import companions
from matrix_operator.backends.kuberay.checks import check_name
from matrix_operator.backends.kuberay.names import (
    DASHBOARD_PORT,
    DIRECTORY_PORT,
    GATEWAY_PORT,
    STATE_PORT,
    Object,
    gateway_service,
    is_ours,
    own_metadata,
)
from matrix_operator.backends.kuberay.paths import one
from matrix_operator.backends.port import PublicAddress
from matrix_operator.backends.slurm.sites import Sites
from matrix_operator.backends.slurm.template import slurm_of
from matrix_proto.bridge_pb2 import TunnelTarget
from matrix_store.errors import Conflict, NotFound
from matrix_store.kubernetes.api import Api

SLICES = "EndpointSlice"
SLICE_VERSION = "discovery.k8s.io/v1"
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "matrix-operator"
LOOK_SECONDS = 60.0
"""How soon one is made again that somebody has deleted or changed."""

PORTS = {
    "http": (GATEWAY_PORT, TunnelTarget.GATEWAY),
    "state": (STATE_PORT, TunnelTarget.STATE),
    "directory": (DIRECTORY_PORT, TunnelTarget.DIRECTORY),
    "dashboard": (DASHBOARD_PORT, TunnelTarget.DASHBOARD),
}
"""Of the Service, by name: the same as in front of a cluster of pods, where the dashboard has a Service of its own."""


@dataclass(frozen=True)
class OwnPod:
    """The pod of this operator."""

    name: str
    namespace: str
    address: str


class Services:
    """A Front, for an operator in a pod."""

    def __init__(self, api: Api, sites: Sites, pod: OwnPod, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._sites = sites
        self._pod = pod
        self._clock = clock
        self._written: dict[str, tuple[float, Object]] = {}
        """By uid: when it was last seen to be so, and the slice."""

    async def open(self, cluster: MatrixCluster) -> PublicAddress | None:
        ports = {}
        for name, (_, target) in PORTS.items():
            address = await self._sites.reach(slurm_of(cluster.spec).site, cluster.metadata.uid, target)
            if address is None:
                return None
            ports[name] = int(address.rpartition(":")[2])
        await self._write(cluster, endpoint_slice(cluster, self._pod, ports))
        return public_address(cluster)

    async def close(self, cluster: MatrixCluster) -> None:
        self._written.pop(cluster.metadata.uid, None)
        for kind, name in ((SLICES, _slice_name(cluster)), ("Service", gateway_service(cluster))):
            found = await companions.find(self._api, cluster, kind, name)
            if found is not None and is_ours(found, cluster):
                await companions.delete(self._api, cluster, found, kind)

    async def _write(self, cluster: MatrixCluster, wanted: Object) -> None:
        seen_at, seen = self._written.get(cluster.metadata.uid, (float("-inf"), {}))
        if seen == wanted and self._clock() - seen_at < LOOK_SECONDS:
            return
        await companions.create(self._api, cluster, service(cluster))
        try:
            await self._put(cluster, wanted)
        except (Conflict, NotFound):
            return  # somebody was in between: it is looked at again with the next look
        self._written[cluster.metadata.uid] = self._clock(), wanted

    async def _put(self, cluster: MatrixCluster, wanted: Object) -> None:
        namespace, name = cluster.metadata.namespace, wanted["metadata"]["name"]
        found = await companions.find(self._api, cluster, SLICES, name)
        if found is None:
            await companions.create(self._api, cluster, wanted)
            return
        check_name(cluster, found, SLICES)
        if {part: found.get(part) for part in ("endpoints", "ports")} != {part: wanted[part] for part in ("endpoints", "ports")}:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            await self._api.replace(one(SLICES, namespace, name), wanted | {"metadata": wanted["metadata"] | version})


def service(cluster: MatrixCluster) -> Object:
    """Without a selector: where it leads to is written beside it."""
    ports = [{"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, (port, _) in PORTS.items()]
    return {"apiVersion": "v1", "kind": "Service", "metadata": own_metadata(cluster, gateway_service(cluster)), "spec": {"ports": ports}}


def endpoint_slice(cluster: MatrixCluster, pod: OwnPod, ports: dict[str, int]) -> Object:
    """`ports`: of the pod, by the names of the Service's."""
    metadata = own_metadata(cluster, _slice_name(cluster))
    labels = metadata["labels"] | {SERVICE_LABEL: gateway_service(cluster), MANAGED_LABEL: MANAGER}
    reference = {"kind": "Pod", "name": pod.name, "namespace": pod.namespace}
    return {
        "apiVersion": SLICE_VERSION,
        "kind": SLICES,
        "metadata": metadata | {"labels": labels},
        "addressType": f"IPv{ipaddress.ip_address(pod.address).version}",
        "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True}, "targetRef": reference}],
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in sorted(ports.items())],
    }


def public_address(cluster: MatrixCluster) -> PublicAddress:
    """By the name of the Service, without the domain: not every cluster's is cluster.local."""
    host = f"{gateway_service(cluster)}.{cluster.metadata.namespace}.svc"
    return PublicAddress(
        gateway_url=f"http://{host}:{GATEWAY_PORT}",
        directory_address=f"{host}:{DIRECTORY_PORT}",
        dashboard_url=f"http://{host}:{DASHBOARD_PORT}",
        state_url=f"http://{host}:{STATE_PORT}",
        scope=EndpointScope.CLUSTER,
    )


def _slice_name(cluster: MatrixCluster) -> str:
    return f"{gateway_service(cluster)}-site"
