"""Where a model answers. Pure. What can't be seen right now stays where it was seen last: the replicas serve on without the cluster's
control plane, and a client that finds one gone tries the next."""

from __future__ import annotations

from matrix_crds.base import Endpoint, EndpointScope
from matrix_crds.deployment import ModelDeployment
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import REPLICA_DEPLOYMENT
from matrix_proto.state import ReplicaState


def endpoints(deployment: ModelDeployment, view: ClusterView | None) -> tuple[Endpoint, ...]:
    """OpenAI's HTTP API of each ready replica: `openai`, and for further ones `openai-2` and so on (names are keys)."""
    if view is None or view.cluster.deleting or view.cluster.spec.suspend or view.backend_absent or not deployment.spec.replicas:
        return ()
    ready = (replica for replica in view.replicas(deployment) if replica.state is ReplicaState.READY and not replica.suspect)
    urls = sorted(replica.http_url for replica in ready if replica.http_url)
    if not urls and (view.state is None or unheard(deployment, view)):
        return deployment.status.endpoints
    names = ("openai" if number == 1 else f"openai-{number}" for number in range(1, len(urls) + 1))
    return tuple(Endpoint(name=name, url=f"{url}/v1", scope=EndpointScope.MACHINE) for name, url in zip(names, urls, strict=True))


def unheard(deployment: ModelDeployment, view: ClusterView) -> int:
    """How many replicas run according to Serve and have not told the directory yet, which has just started itself."""
    application = view.application(deployment)
    serving = application.deployments.get(REPLICA_DEPLOYMENT) if application else None
    known = {replica.id for replica in view.replicas(deployment)}
    return sum(1 for replica in serving.replicas if replica.state == "RUNNING" and replica.replica_id not in known) if serving else 0
