"""ModelDeployment: no network here. Its cluster's reconciler looks and writes the Serve configuration; this one tells what was seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from matrix_crds.deployment import ModelDeployment, ModelDeploymentStatus
from matrix_crds.keys import ObjectKey
from matrix_operator.reconcile import deployment_summary
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.pace import SETTLING, STEADY
from matrix_operator.reconcile.status_writer import StatusWriter
from matrix_operator.reconcile.views import Views
from matrix_store.port import StoredObject

SOONEST_RETRY = 0.1
RETRY_MARGIN = 0.05  # so that the retry is due when it is looked at


class DeploymentReconciler:
    """Reconciles deployments, from the last look at each cluster."""

    def __init__(self, cache: ObjectCache, views: Views, writer: StatusWriter, clock: Callable[[], datetime]) -> None:
        self._cache = cache
        self._views = views
        self._writer = writer
        self._clock = clock

    async def reconcile(self, stored: StoredObject, deployment: ModelDeployment) -> float:
        """Seconds until the next look. Raises StoreError."""
        cluster = ObjectKey("MatrixCluster", deployment.metadata.namespace, deployment.spec.cluster_ref.name)
        view = self._views.of(cluster)
        if deployment.deleting or (view is None and self._cache.get(cluster) is not None):
            return SETTLING  # woken as soon as the cluster was looked at
        if view is not None:
            view = view.with_deployment(deployment)  # what was seen of the cluster may be older than the deployment
        status = deployment_summary.summarise(deployment, view, self._clock())
        await self._writer.write(stored, deployment.status, status)
        return self._pace(status)

    def _pace(self, status: ModelDeploymentStatus) -> float:
        retry_at = status.allocation.retry_at if status.allocation else None
        if retry_at is None:
            return STEADY
        return max(SOONEST_RETRY, (retry_at - self._clock()).total_seconds() + RETRY_MARGIN)
