"""The operator leaves a Kubernetes cluster, and nothing stays that only it could let go.

A MatrixCluster has a finalizer that the operator alone takes off. Were the operator just gone, none could be deleted any more, nor the
namespace that it is in. So either all of them are deleted while the operator still works, or they stay, go on running, and their
finalizers are taken off when surely no operator is there to put them back. Whoever deletes such a cluster later deletes what belongs to
it as well, by its owner references; under deletionPolicy Orphan it has none.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from matrix_crds.constants import FINALIZER
from matrix_operator.engines.kubernetes_main import EXIT_FAILED, configure_logging
from matrix_operator.engines.lease import Lease
from matrix_operator.engines.process import stop_on_signals
from matrix_operator.errors import OperatorError
from matrix_operator.tasks import first_to_end
from matrix_store.errors import Conflict, NotFound, StoreError, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import Connection, connect
from matrix_store.kubernetes.faults import KindUnknown
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import Raw, StoredObject

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
KIND = "MatrixCluster"
TOLD = 6
"""Clusters that are named; more are counted."""


class NotRetired(OperatorError):
    """It could not be done; the operator goes on working. The text says what to do."""


class Clusters(StrEnum):
    """What becomes of the MatrixClusters."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True)
class Order:
    """What is to be done."""

    clusters: Clusters
    namespaces: tuple[str, ...]
    """Those that the operator watches; none: all."""
    namespace: str | None
    """The operator's own; default: that of this pod, or of the kubeconfig's context."""
    deployment: str
    """The operator's."""
    lease_name: str
    seconds: float
    """After so long it is given up."""


def main(order: Order, kubeconfig: Path | None, context: str | None) -> int:
    """The exit code. The log's last line says why it is not 0."""
    configure_logging()
    try:
        asyncio.run(_until_stopped(connect(context, kubeconfig), order))
    except (StoreError, OperatorError) as error:
        log.error("%s", error)
        return EXIT_FAILED
    return 0


async def _until_stopped(connection: Connection, order: Order) -> None:
    async def stopped() -> None:
        await stop_on_signals().wait()
        raise NotRetired("stopped by a signal")

    await first_to_end(Retirement(connection, order).run(), stopped())


class Retirement:
    """One try. It may be killed anywhere and tried again."""

    def __init__(self, connection: Connection, order: Order) -> None:
        namespace = order.namespace or connection.namespace
        self._api = Api(connection)
        self._lease = Lease(self._api, namespace, order.lease_name, f"{socket.gethostname()}_retirement_{uuid.uuid4().hex[:8]}")
        # What only one that acts may do is done under the lease.
        self._acting = KubernetesStore(Api(connection, may_write=lambda: self._lease.held))
        self._store = KubernetesStore(self._api)
        self._scale = f"/apis/apps/v1/namespaces/{namespace}/deployments/{order.deployment}/scale"
        self._order = order
        self._waits_for = "the API server"

    async def run(self) -> None:
        """Raises NotRetired, StoreError."""
        try:
            async with asyncio.timeout(self._order.seconds):
                await (self._delete() if self._order.clusters is Clusters.DELETE else self._keep())
        except TimeoutError as error:
            raise NotRetired(f"given up after {self._order.seconds:.0f} s of waiting for {self._waits_for}") from error
        finally:
            await self._store.close()

    async def _delete(self) -> None:
        """Under the eyes of an operator, which ends what belongs to them."""
        while found := await self._list():
            for stored in found:
                if not stored.deleting:
                    log.info("deletes %s", stored.key)
                    await self._mark(stored)
            self._wait_for(f"{_names(found)} to be gone (`matrix why` says what holds them)")
            await asyncio.sleep(LOOK_SECONDS)
        log.info("there is no %s", KIND)

    async def _mark(self, stored: StoredObject) -> None:
        try:
            await self._store.delete(stored.key, uid=stored.uid)
        except (NotFound, Conflict):
            log.info("%s has gone, or is another by now", stored.key)

    async def _keep(self) -> None:
        refuse_slurm(await self._list())
        while leaving := [stored for stored in await self._list() if stored.deleting]:
            self._wait_for(f"{_names(leaving)}, which is being deleted already, to be gone (`matrix why` says what holds it)")
            await asyncio.sleep(LOOK_SECONDS)
        replicas = await self._scaled_to(0)
        try:
            self._wait_for("the operator to give its lease back")
            await self._lease.acquire()
            await first_to_end(self._lease.hold(), self._let_go())
        except BaseException:
            await self._scaled_to(replicas)
            raise
        finally:
            await self._lease.release()

    async def _let_go(self) -> None:
        while held := [stored for stored in await self._list() if FINALIZER in stored.finalizers]:
            refuse_slurm(held)
            self._wait_for(f"{_names(held)} to be let go")
            for stored in held:
                await self._release(stored)
        log.info("no %s needs an operator to be deleted", KIND)

    async def _release(self, stored: StoredObject) -> None:
        left = [name for name in stored.finalizers if name != FINALIZER]
        try:
            await self._acting.set_finalizers(stored.key, left, resource_version=stored.resource_version)
            log.info("%s goes on running, and can be deleted without an operator", stored.key)
        except (NotFound, Conflict) as error:
            log.info("looks again: %s", error)

    async def _list(self) -> list[StoredObject]:
        """All MatrixClusters that are watched; what can't be seen is not taken for nothing."""
        while True:
            try:
                return [stored for namespace in self._order.namespaces or (None,) for stored in await self._store.list(KIND, namespace)]
            except KindUnknown:
                log.info("the cluster does not know %s", KIND)
                return []
            except Unavailable as error:
                self._wait_for(f"the API server: {error}")
                await asyncio.sleep(LOOK_SECONDS)

    async def _scaled_to(self, replicas: int) -> int:
        """How many there were; 0 when there is no such Deployment."""
        try:
            before = int((await self._api.get(self._scale))["spec"].get("replicas") or 0)
            if before != replicas:
                log.info("the operator's replicas: %d, before %d", replicas, before)
                await self._api.merge(self._scale, {"spec": {"replicas": replicas}})
        except NotFound:
            log.info("there is no deployment of the operator")
            return 0
        return before

    def _wait_for(self, what: str) -> None:
        if what != self._waits_for:
            log.info("waits for %s", what)
        self._waits_for = what


def refuse_slurm(found: Sequence[StoredObject]) -> None:
    """Raises NotRetired for clusters that have something outside of Kubernetes, which nothing here would follow."""
    if outside := [stored for stored in found if FINALIZER in stored.finalizers and on_slurm(stored.raw)]:
        raise NotRetired(f"{_names(outside)}: jobs on Slurm would have nobody who ends them; delete what is on Slurm first")


def on_slurm(raw: Raw) -> bool:
    """By its spec alone: an object of any version says so in the same way."""
    return "slurm" in ((raw.get("spec") or {}).get("backend") or {})


def _names(found: Sequence[StoredObject]) -> str:
    names = ", ".join(str(stored.key) for stored in found[:TOLD])
    return names + (f" and {len(found) - TOLD} more" if len(found) > TOLD else "")
