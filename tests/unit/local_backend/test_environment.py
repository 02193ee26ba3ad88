from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from matrix_operator.backends.local.environment import process_environment, recorded_environment
from matrix_operator.backends.local.journal import ClusterRecord, Journal, NodeTemplate, Ports, Template
from matrix_store.home import Home

SHELL = {
    "HOME": "/home/u",
    "PATH": "/usr/bin:/opt/slurm/bin",
    "RAY_ADDRESS": "10.0.0.1:6379",
    "RAY_AUTH_TOKEN": "somebody's",
    "PYTHONPATH": "/elsewhere",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "HF_HOME": "/models",
    "HF_TOKEN": "hf-secret",
    "https_proxy": "http://user:proxy-secret@proxy:3128",
    "no_proxy": "corp.example",
    "MATRIX_CLUSTER_UID": "another",
    "CUDA_VISIBLE_DEVICES": "3",
}
HOME = Home(Path("/state"))


def record() -> ClusterRecord:
    return ClusterRecord(
        uid="u1",
        name="c",
        home="/state",
        directory="/tmp/mx-1",
        ports=Ports(gcs=1, dashboard=2, state=3, directory=4, gateway=5),
        template=Template(ray_version="2.60.0", head=NodeTemplate(cpus=1, memory=1)),
        template_hash="h",
        attempt=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        environment=recorded_environment(SHELL),
    )


def test_only_what_is_listed_is_taken_over_and_no_secret_is_recorded() -> None:
    kept = ("HOME", "PATH", "HF_HOME", "MATRIX_CLUSTER_UID", "CUDA_VISIBLE_DEVICES")
    assert recorded_environment(SHELL) == {name: SHELL[name] for name in kept}
    assert "secret" not in record().model_dump_json()


def test_rays_own_variables_come_from_us_alone() -> None:
    environment = process_environment(record(), Journal(HOME, "u1"), "gcs", SHELL)
    assert {name: value for name, value in environment.items() if name.startswith("RAY_")} == {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "/state/clusters/u1/secrets/ray-token",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": "/state/clusters/u1/gcs",
    }
    assert not {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY"} & environment.keys()


def test_the_marker_is_that_of_the_cluster_and_survives_process_titles() -> None:
    environment = process_environment(record(), Journal(HOME, "u1"), "raylet", SHELL)
    assert environment["MATRIX_CLUSTER_UID"] == "u1"
    assert environment["MATRIX_HOME"] == "/state"
    assert environment["MATRIX_CLUSTER_PART"] == "raylet"
    assert environment["SPT_NOENV"] == "1"


def test_the_interpreters_directory_comes_first_and_the_users_path_after_it() -> None:
    environment = process_environment(record(), Journal(HOME, "u1"), "raylet", SHELL)
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/usr/bin:/opt/slurm/bin"


def test_temporary_files_go_with_the_cluster() -> None:
    environment = process_environment(record(), Journal(HOME, "u1"), "raylet", SHELL | {"TMPDIR": "/scratch"})
    assert environment["TMPDIR"] == record().directory


def test_secrets_are_passed_on_and_loopback_goes_around_the_proxy() -> None:
    environment = process_environment(record(), Journal(HOME, "u1"), "raylet", SHELL)
    assert environment["HF_TOKEN"] == "hf-secret" and environment["https_proxy"] == SHELL["https_proxy"]
    assert environment["no_proxy"] == environment["NO_PROXY"] == "corp.example,127.0.0.1,localhost"


def test_what_was_recorded_wins_over_the_shell_of_the_day() -> None:
    later = SHELL | {"CUDA_VISIBLE_DEVICES": "7", "HF_TOKEN": "new"}
    environment = process_environment(record(), Journal(HOME, "u1"), "raylet", later)
    assert environment["CUDA_VISIBLE_DEVICES"] == "3" and environment["HF_TOKEN"] == "new"
