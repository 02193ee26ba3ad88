"""The Slurm backend: a Ray cluster as jobs of a site, of which the site's bridge reports. The pure half is in the modules around it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import UTC, datetime

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_crds.slurm_template import slurm_template_hash
from matrix_operator.backends.port import BackendRefusal, Observation, RayAddress, Removal, RemovalState, RuntimeLayout
from matrix_operator.backends.slurm import desired as wishes
from matrix_operator.backends.slurm.checks import check
from matrix_operator.backends.slurm.front import Front
from matrix_operator.backends.slurm.layout import layout
from matrix_operator.backends.slurm.observe import look, refusal
from matrix_operator.backends.slurm.removal import removal
from matrix_operator.backends.slurm.secrets import ClusterSecrets
from matrix_operator.backends.slurm.sites import SiteRefusal, SiteReport, Sites, SiteSilence
from matrix_operator.backends.slurm.template import slurm_of
from matrix_operator.errors import ForeignFault
from matrix_operator.looks import Look, Unknown
from matrix_proto.bridge_pb2 import ClusterDesired, TunnelTarget
from matrix_store.errors import Forbidden, Rejected, StoreError


def _now() -> datetime:
    return datetime.now(UTC)


class SlurmBackend:
    """A ClusterBackend over whoever knows the sites' bridges. All looks go into memory: the sites report by themselves."""

    def __init__(self, sites: Sites, secrets: ClusterSecrets, front: Front, clock: Callable[[], datetime] = _now) -> None:
        self._sites = sites
        self._secrets = secrets
        self._front = front
        self._clock = clock
        self._told: dict[str, ClusterDesired] = {}
        """By uid: what this process has told the site last."""

    # --- look ---

    async def observe(self, cluster: MatrixCluster) -> Look[Observation]:
        try:
            await self._secrets.read(cluster)
        except (Forbidden, OSError) as error:
            return Unknown(f"the cluster's tokens can't be read: {error}")
        except StoreError as error:
            return Unknown(str(error))
        told = self._told.get(cluster.metadata.uid)
        return look(cluster, self.allocation_name(cluster), told, self._report(cluster), self._clock())

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        site, uid = slurm_of(cluster.spec).site, cluster.metadata.uid
        return self._sites.pulse(site, uid), self._secrets.pulse(cluster)

    def allocation_name(self, cluster: MatrixCluster) -> str:
        """What the names of its jobs begin with: `squeue --name` takes them whole."""
        return f"mx-{cluster.metadata.uid[:8]}"

    def template_hash(self, cluster: MatrixCluster) -> str:
        return slurm_template_hash(cluster.spec)

    async def address(self, cluster: MatrixCluster) -> RayAddress | None:
        try:
            tokens = await self._secrets.read(cluster)
            public = await self._front.open(cluster) if tokens else None
        except (BackendRefusal, StoreError, OSError):
            return None  # a look, or the next step, tells why
        dashboard, state = await self._reach(cluster, TunnelTarget.DASHBOARD), await self._reach(cluster, TunnelTarget.STATE)
        if tokens is None or public is None or dashboard is None or state is None:
            return None
        return RayAddress(f"http://{dashboard}", f"http://{state}", tokens.ray, tokens.client, public)

    async def layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        found = self._report(cluster)
        return layout(found.report) if isinstance(found, SiteReport) else None

    # --- act ---

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        check(cluster.spec)
        try:
            wish = wishes.present(cluster, desired.attempt, await self._secrets.files(cluster))
            self._want(cluster, wish)
        except SiteRefusal as error:
            raise BackendRefusal(ClusterReason.INVALID_SPEC, str(error)) from error
        except Forbidden as error:
            raise BackendRefusal(ClusterReason.BACKEND_UNREACHABLE, str(error)) from error
        except Rejected as error:
            raise BackendRefusal(ClusterReason.INVALID_SPEC, f"{error}; change the manifest") from error
        except (StoreError, OSError) as error:
            raise ForeignFault(str(error)) from error
        found = self._report(cluster)
        if isinstance(found, SiteReport) and wishes.answers(found.report, wish) and (refused := refusal(found.report)):
            raise refused

    # --- end ---

    async def remove(self, cluster: MatrixCluster) -> Removal:
        wish = wishes.absent(cluster)
        try:
            self._want(cluster, wish)
        except SiteRefusal as error:
            if cluster.status.allocation is not None:
                return Removal(RemovalState.UNKNOWN, str(error))
        step = removal(cluster, wish, self._report(cluster), self._clock())
        if step.state is RemovalState.GONE and cluster.deleting:
            return await self._clear(cluster)
        return step

    async def let_go(self, cluster: MatrixCluster) -> Removal:
        try:
            await self._front.close(cluster)
            left = await self._secrets.let_go(cluster)
        except StoreError as error:
            return Removal(RemovalState.UNKNOWN, str(error))
        if left:
            return Removal(RemovalState.GOING, f"{left} would be deleted with the MatrixCluster; taking that from them")
        self._forget(cluster)
        return Removal(RemovalState.GONE)

    async def _clear(self, cluster: MatrixCluster) -> Removal:
        """Nothing is left at the site: what is left here goes too."""
        try:
            await self._front.close(cluster)
            await self._secrets.remove(cluster)
        except (StoreError, OSError) as error:
            return Removal(RemovalState.GOING, f"nothing is left at the site, but its secrets can't be deleted: {error}")
        self._forget(cluster)
        return Removal(RemovalState.GONE)

    def _want(self, cluster: MatrixCluster, wish: ClusterDesired) -> None:
        """Raises SiteRefusal."""
        self._sites.want(slurm_of(cluster.spec).site, wish)
        self._told[cluster.metadata.uid] = wish

    def _forget(self, cluster: MatrixCluster) -> None:
        self._sites.forget(slurm_of(cluster.spec).site, cluster.metadata.uid)
        self._told.pop(cluster.metadata.uid, None)

    def _report(self, cluster: MatrixCluster) -> SiteReport | SiteSilence:
        return self._sites.report(slurm_of(cluster.spec).site, cluster.metadata.uid)

    async def _reach(self, cluster: MatrixCluster, target: TunnelTarget) -> str | None:
        return await self._sites.reach(slurm_of(cluster.spec).site, cluster.metadata.uid, target)
