"""The controller: look, decide, act, write the status. The same for every engine.

    the object -> observe -> decide (pure) -> carry out -> summarise (pure) -> write the status, whole, only when it changed

Errors have three fates. A foreign fault is raised and tried again with backoff. What the user must change becomes a condition and is
looked at again at the slow pace. A bug is logged with its trace, shown as Ready=Unknown/InternalError, and the loop lives on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from matrix_crds.cluster import MatrixCluster
from matrix_crds.deployment import ModelDeployment
from matrix_crds.errors import ManifestError
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import Backends
from matrix_operator.errors import ForeignFault
from matrix_operator.http import Http
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.cluster_reconciler import ClusterReconciler
from matrix_operator.reconcile.deployment_reconciler import DeploymentReconciler
from matrix_operator.reconcile.pace import SETTLING, STEADY
from matrix_operator.reconcile.reading import read
from matrix_operator.reconcile.status_writer import StatusWriter
from matrix_operator.reconcile.steps import StepHook, no_hook
from matrix_operator.reconcile.views import Views
from matrix_store.errors import StoreError
from matrix_store.port import Store, StoredObject

log = logging.getLogger(__name__)

HELD = (
    "it is being deleted, and what that takes can't be read: nothing is ended and nothing let go until a manifest is applied that puts "
    "right what is named here, or the release runs that wrote it"
)


class Controller:
    """Reconciles both kinds. One instance per process; `wake` asks for another look at an object."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        backends: Backends,
        http: Http,
        metrics: ControllerMetrics,
        wake: Callable[[ObjectKey], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        hook: StepHook = no_hook,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cache = cache
        self._metrics = metrics
        self.views = Views(cache, wake)
        self._writer = StatusWriter(store, cache, clock)
        self._clusters = ClusterReconciler(store, cache, backends, http, metrics, self._writer, clock, hook, may_act)
        self._deployments = DeploymentReconciler(cache, self.views, self._writer, clock)

    async def reconcile(self, key: ObjectKey) -> float | None:
        """One look at one object. Returns the seconds until the next one, None when the object is gone.
        Raises ForeignFault, StoreError: try again."""
        stored = self._cache.get(key)
        if stored is None:
            self.views.forget(key)
            return None
        try:
            return await self._reconcile(stored)
        except (ForeignFault, StoreError):
            raise
        except Exception as error:
            log.exception("bug while reconciling %s", key)
            self._metrics.errors.labels(key.kind, "bug").inc()
            await self._writer.write_bug(stored, error)
            return SETTLING

    async def _reconcile(self, stored: StoredObject) -> float:
        try:
            resource = read(stored)
        except ManifestError as error:
            return await self._unreadable(stored, str(error))
        if isinstance(resource, MatrixCluster):
            return await self._reconcile_cluster(stored, resource)
        assert isinstance(resource, ModelDeployment)
        return await self._deployments.reconcile(stored, resource)

    async def _reconcile_cluster(self, stored: StoredObject, cluster: MatrixCluster) -> float:
        look = await self._clusters.reconcile(stored, cluster)
        if look.view is not None:
            self.views.publish(look.view)
        elif look.unjudged:
            self.views.give_up(cluster.key, look.unjudged)
        else:
            self.views.forget(cluster.key)
        if look.fault:
            raise ForeignFault(look.fault)
        return look.after

    async def _unreadable(self, stored: StoredObject, why: str) -> float:
        """An object that does not parse becomes Ready=False/InvalidSpec, and nothing else happens, whatever is asked for."""
        if stored.key.kind == "MatrixCluster":
            why = f"{HELD}\n{why}" if stored.deleting else why
            self.views.give_up(stored.key, why)
        self._metrics.errors.labels(stored.key.kind, "user").inc()
        await self._writer.write_unable(stored, why)
        return STEADY
