"""Where a model, and a cluster, answer. Pure. What can't be seen right now stays where it was seen last: all of it serves on without the
control plane."""

from __future__ import annotations

from matrix_crds.base import Endpoint
from matrix_crds.deployment import ModelDeployment
from matrix_operator.backends.port import PublicAddress
from matrix_operator.reconcile.serving_view import answering, unheard
from matrix_operator.reconcile.view import ClusterView


def cluster_endpoints(view: ClusterView) -> tuple[Endpoint, ...]:
    """The gateway's OpenAI API, the directory for callers of gRPC (its Watch tells of the replicas), Ray's dashboard, the state."""
    if view.cluster.deleting or view.cluster.spec.suspend or view.backend_absent:
        return ()
    if view.address is None:
        return view.cluster.status.endpoints
    public = view.address.public
    return (
        _openai(public),
        Endpoint(name="grpc", url=f"grpc://{public.directory_address}", scope=public.scope),
        Endpoint(name="dashboard", url=public.dashboard_url, scope=public.scope),
        Endpoint(name="directory", url=public.state_url, scope=public.scope),
    )


def model_endpoints(deployment: ModelDeployment, view: ClusterView | None) -> tuple[Endpoint, ...]:
    """The gateway's OpenAI API, once a replica answers. The replicas' own addresses are in the directory."""
    if view is None or view.cluster.deleting or view.cluster.spec.suspend or view.backend_absent or not deployment.spec.replicas:
        return ()
    if answering(deployment, view) and view.address is not None:
        return (_openai(view.address.public),)
    hidden = view.state is None or view.address is None or unheard(deployment, view)
    return deployment.status.endpoints if hidden else ()


def _openai(public: PublicAddress) -> Endpoint:
    return Endpoint(name="openai", url=f"{public.gateway_url}/v1", scope=public.scope)
