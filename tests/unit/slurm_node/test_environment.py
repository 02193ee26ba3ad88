"""What Ray's processes get to see of the job."""

from __future__ import annotations

from pathlib import Path

from matrix_slurm_bridge.node.environment import ray_environment
from matrix_slurm_bridge.node.places import Place
from matrix_slurm_bridge.node.procfs import MARKER
from tests.unit.slurm_node.builders import plan

PLACE = Place(Path("/tmp/mx-1"), Path("/tmp/mx-1"))
JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "0",
    "SBATCH_EXPORT": "ALL",
    "PMIX_RANK": "0",
    "RAY_ADDRESS": "10.0.0.9:6379",
    "RAY_AUTH_TOKEN": "of another cluster",
    "RAY_memory_usage_threshold": "0.9",
    "CUDA_VISIBLE_DEVICES": "2,3",
    "HF_HOME": "/data/hf",
    "PATH": "/opt/cuda/bin:/usr/bin",
    "http_proxy": "http://proxy:3128",
    "no_proxy": ".example.org",
}


def environment(command: str = "head") -> dict[str, str]:
    return ray_environment(plan(Path("/shared/c"), command=command), PLACE, JOB, "10.0.0.1", "10.0.0.2")


def test_nothing_makes_it_believe_that_it_is_a_step_or_of_another_ray() -> None:
    assert not {"SLURM_JOB_ID", "SLURM_PROCID", "SBATCH_EXPORT", "PMIX_RANK", "RAY_ADDRESS", "RAY_AUTH_TOKEN"} & environment().keys()


def test_gpus_and_what_the_profile_has_set_stay() -> None:
    found = environment()
    assert (found["CUDA_VISIBLE_DEVICES"], found["HF_HOME"], found["RAY_memory_usage_threshold"]) == ("2,3", "/data/hf", "0.9")
    assert found["PATH"].endswith(":/opt/cuda/bin:/usr/bin") and found["TMPDIR"] == "/tmp/mx-1/tmp"


def test_the_token_is_a_file_and_no_value_anywhere() -> None:
    found = environment()
    assert found["RAY_AUTH_MODE"] == "token" and found["RAY_AUTH_TOKEN_PATH"] == "/shared/c/secrets/ray-token"


def test_the_marker_is_that_of_this_run_of_the_job() -> None:
    assert environment()[MARKER] == plan(Path("/shared/c")).marker != plan(Path("/shared/c"), restart=1).marker


def test_the_nodes_are_reached_without_the_proxy() -> None:
    assert environment()["no_proxy"] == environment()["NO_PROXY"] == ".example.org,127.0.0.1,localhost,10.0.0.1,10.0.0.2"


def test_a_gcs_keeps_its_state_on_its_node_and_a_worker_waits_for_a_head_as_long_as_its_job_does() -> None:
    assert environment()["RAY_gcs_storage_path"] == "/tmp/mx-1/gcs" and "RAY_gcs_storage" not in environment("worker")
    assert environment("worker")["RAY_gcs_rpc_server_reconnect_timeout_s"] == "1800"
