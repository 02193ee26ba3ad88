"""Slurm sites in the process of an operator: the hub that their bridges dial, and the backend over it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from prometheus_client import CollectorRegistry

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import AllocationKind
from matrix_operator.backends.choice import BackendChoice
from matrix_operator.backends.slurm.backend import SlurmBackend
from matrix_operator.backends.slurm.front import Direct, Front
from matrix_operator.backends.slurm.secrets import KubernetesSecrets
from matrix_operator.backends.slurm.services import OwnPod, Services
from matrix_operator.hub.hub import Hub
from matrix_operator.hub.identity import hub_id
from matrix_operator.hub.settings import HubSettings
from matrix_store.errors import Conflict, Unavailable
from matrix_store.kubernetes.api import Api

log = logging.getLogger(__name__)

POD_ADDRESS, POD_NAME, POD_NAMESPACE = "POD_IP", "POD_NAME", "POD_NAMESPACE"
"""Variables that the pod's manifest sets from its own fields."""
AGAIN_SECONDS = 1.0


def own_pod(environ: Mapping[str, str]) -> OwnPod | None:
    """None where the manifest does not say it; then only programs in the same pod reach what runs at sites."""
    address = environ.get(POD_ADDRESS, "")
    if not address:
        log.warning("the variable %s is not set: clusters at Slurm sites get no Service", POD_ADDRESS)
        return None
    return OwnPod(environ.get(POD_NAME, ""), environ.get(POD_NAMESPACE, ""), address)


class KubernetesSites:
    """One process' part. It listens once it acts."""

    def __init__(self, settings: HubSettings, registry: CollectorRegistry, api: Api, pod: OwnPod | None) -> None:
        """`pod`: this process' own; None where it is none of the cluster. Raises CertificateProblem."""
        self._hub = Hub(replace(settings, tunnel_address=_everywhere(pod)) if pod else settings, registry)
        front: Front = Services(api, self._hub, pod) if pod else Direct(self._hub, EndpointScope.MACHINE)
        self.choice = BackendChoice("Slurm", AllocationKind.SLURM_JOBS, SlurmBackend(self._hub, KubernetesSecrets(api), front))

    async def lead(self, api: Api, namespace: str, lease: str) -> None:
        """The lease is ours: let the bridges come. Raises StoreError, OSError when the port can't be had."""
        await self._hub.start(await _identity(api, namespace, lease))

    async def stop(self) -> None:
        await self._hub.stop()


def _everywhere(pod: OwnPod) -> str:
    """At the pod's address for its Services, and at loopback for forwarded ports."""
    return "::" if ":" in pod.address else "0.0.0.0"


async def _identity(api: Api, namespace: str, lease: str) -> str:
    """The lease is renewed every other second, so that a try may meet that. An API server that is away is waited for: without the id no
    site knows us."""
    while True:
        try:
            return await hub_id(api, namespace, lease)
        except (Conflict, Unavailable) as error:
            log.info("the hub's id is asked for again: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)
