"""How a replica is put to Ray Serve. Imports Ray, and starts none."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.cluster import Resources
from matrix_crds.deployment import VllmEngine
from matrix_runtime.engines.vllm_arguments import vllm_arguments
from matrix_runtime.serving.app import build
from matrix_runtime.serving.replica import STOP_SECONDS
from matrix_runtime.serving.settings import ReplicaSettings


def deployment(resources: dict[str, Any], vllm: dict[str, Any]) -> Any:
    """The Serve deployment of a model."""
    arguments = {
        "deployment": "m",
        "servedName": "m",
        "source": "file:///m",
        "engine": {"vllm": vllm},
        "resources": resources,
        "stateUrl": "http://127.0.0.1:1",
        "bindHost": "127.0.0.1",
        "secretsDir": "/none",
        "modelCacheDir": "/none",
    }
    return build(arguments)._bound_deployment


@pytest.mark.parametrize(
    ("resources", "vllm", "gpus"),
    [
        ({"cpu": "2", "memory": "8Gi"}, {}, 0),
        ({"cpu": "4", "memory": "16Gi", "gpu": 1}, {}, 1),
        ({"cpu": "4", "memory": "16Gi", "gpu": 2}, {"tensorParallel": 2}, 2),
    ],
)
def test_a_replica_takes_its_gpus_itself_and_needs_no_placement_group(resources: dict[str, Any], vllm: dict[str, Any], gpus: int) -> None:
    made = deployment(resources, vllm)
    assert made.ray_actor_options["num_gpus"] == gpus
    assert made.ray_actor_options["num_cpus"] == int(resources["cpu"])
    assert made._replica_config.placement_group_bundles is None


def test_serve_lets_a_replica_drain_and_looks_at_it_often() -> None:
    config = deployment({}, {})._deployment_config
    assert config.graceful_shutdown_wait_loop_s == 0.1
    assert config.graceful_shutdown_timeout_s >= 1 + ReplicaSettings().drain_seconds + STOP_SECONDS
    assert config.health_check_period_s <= 2


@pytest.mark.parametrize(("gpus", "parallel"), [(1, 1), (2, 2)])
def test_on_gpus_there_is_no_argument_that_is_meant_for_cpus(gpus: int, parallel: int) -> None:
    arguments = vllm_arguments(VllmEngine(tensor_parallel=parallel), "m", "/m", Resources(gpu=gpus))
    assert not {"--enforce-eager", "--kv-cache-memory-bytes", "--block-size"} & set(arguments)
    assert ("mp" in arguments) == (parallel > 1) and "ray" not in arguments
