"""What is known of each cluster from its last look. Its deployments go by it, and are woken when it changes for them."""

from __future__ import annotations

from collections.abc import Callable

from matrix_crds.base import Condition, ObjectMeta
from matrix_crds.cluster import ClusterCondition, MatrixCluster, MatrixClusterStatus
from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import ClusterReason
from matrix_operator.looks import Unknown
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.conditions import UNKNOWN
from matrix_operator.reconcile.view import ClusterView


class Views:
    """The last look at each cluster, or why it can't be judged."""

    def __init__(self, cache: ObjectCache, wake: Callable[[ObjectKey], None]) -> None:
        self._cache = cache
        self._wake = wake
        self.seen: dict[ObjectKey, ClusterView] = {}
        """Of clusters that can be judged: the others have no pulse."""
        self._unjudged: dict[ObjectKey, str] = {}
        """Why not, of the others."""

    def of(self, cluster: ObjectKey) -> ClusterView | None:
        """What a deployment on it goes by; None as long as nobody has looked."""
        why = self._unjudged.get(cluster)
        return self.seen.get(cluster) if why is None else _nothing_known(cluster, why)

    def publish(self, view: ClusterView) -> None:
        """A look was taken: those deployments that may see something new in it are woken."""
        key = view.cluster.key
        self._unjudged.pop(key, None)
        before, self.seen[key] = self.seen.get(key), view
        for deployment in view.deployments:
            if before is None or before.concerning(deployment) != view.concerning(deployment):
                self._wake(deployment.key)

    def give_up(self, cluster: ObjectKey, why: str) -> None:
        """The cluster can't be judged: what was seen of it does not count any more."""
        before, self._unjudged[cluster] = self._unjudged.get(cluster), why
        if self.seen.pop(cluster, None) or before != why:
            self._wake_all(cluster)

    def forget(self, cluster: ObjectKey) -> None:
        """The cluster is gone, or let go."""
        if self.seen.pop(cluster, None) or self._unjudged.pop(cluster, None):
            self._wake_all(cluster)

    def _wake_all(self, cluster: ObjectKey) -> None:
        for stored in self._cache.deployments_of(cluster):
            self._wake(stored.key)


def _nothing_known(cluster: ObjectKey, why: str) -> ClusterView:
    """A view in which all is unknown."""
    ready = Condition(type=ClusterCondition.READY, status=UNKNOWN, reason=ClusterReason.INVALID_SPEC, message=why)
    status = MatrixClusterStatus(observed_generation=1, conditions=(ready,))  # it was looked at
    metadata = ObjectMeta(name=cluster.name, namespace=cluster.namespace)
    return ClusterView(cluster=MatrixCluster(metadata=metadata, status=status), backend=Unknown(why))
