"""The Serve application mx-md-<name>. Imported by Serve's build task and by the replicas: no engine is imported here."""

from __future__ import annotations

from typing import Any

from ray import serve

from matrix_crds import quantity
from matrix_runtime.serving.arguments import ReplicaArguments
from matrix_runtime.serving.replica import STOP_SECONDS, ModelReplica
from matrix_runtime.serving.settings import ReplicaSettings


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application; see ReplicaArguments for `arguments`. What the Serve config sets for the deployment `Replica` wins over the
    defaults here."""
    parsed = ReplicaArguments.model_validate(arguments)
    drain = ReplicaSettings().drain_seconds
    deployment = serve.deployment(
        ModelReplica,
        name="Replica",
        ray_actor_options={"num_cpus": quantity.whole(parsed.resources.cpu), "num_gpus": parsed.resources.gpu},
        max_ongoing_requests=100_000,  # requests don't pass through Serve
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_timeout_s=drain + STOP_SECONDS + 7.0,
        graceful_shutdown_wait_loop_s=0.1,
    )
    return deployment.bind(arguments)
