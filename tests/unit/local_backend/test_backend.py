from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.base import ObjectMeta
from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster, MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.backend import LocalBackend
from matrix_operator.backends.local.places import temporary_directory
from matrix_operator.backends.local.procfs import Processes
from matrix_operator.backends.port import BackendRefusal, ClusterBackend, RemovalState
from matrix_operator.looks import Absent, Unknown
from matrix_store.home import Home

DESIRED = Allocation(kind=AllocationKind.LOCAL_PROCESSES, name="c")


def cluster(**spec: Any) -> MatrixCluster:
    uid = f"unit-{os.getpid()}-{time.time_ns()}"
    return MatrixCluster(metadata=ObjectMeta(name="c", uid=uid), spec=MatrixClusterSpec.model_validate(spec))


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(Home(tmp_path), environ={"HOME": "/home/u"})


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"ray": {"version": "1.2.3"}}, ClusterReason.RAY_VERSION_MISMATCH),
        ({"head": {"resources": {"cpu": "9999"}}}, ClusterReason.INSUFFICIENT_RESOURCES),
        ({"head": {"resources": {"memory": "9999Gi"}}}, ClusterReason.INSUFFICIENT_RESOURCES),
        ({"head": {"resources": {"gpu": 64}}}, ClusterReason.INSUFFICIENT_RESOURCES),
        ({"workerGroups": [{"name": "w", "autoscale": {"max": 2}}]}, ClusterReason.NOT_SUPPORTED),
    ],
)
def test_what_can_not_start_is_refused_at_once_and_leaves_nothing(
    backend: LocalBackend, tmp_path: Path, spec: dict[str, Any], reason: ClusterReason
) -> None:
    wanted = cluster(**spec)
    with pytest.raises(BackendRefusal) as refused:
        asyncio.run(backend.ensure(wanted, DESIRED))
    assert refused.value.reason is reason
    assert list(tmp_path.rglob("*")) == [] and not temporary_directory(wanted.metadata.uid).exists()
    assert isinstance(asyncio.run(backend.observe(wanted)), Absent)


def test_nothing_is_known_before_it_is_decided(backend: LocalBackend) -> None:
    assert asyncio.run(backend.address(cluster())) is None
    assert asyncio.run(backend.layout(cluster())) is None


def test_removing_what_is_not_there_is_done_at_once(backend: LocalBackend) -> None:
    assert asyncio.run(backend.remove(cluster())).state is RemovalState.GONE


def test_a_cluster_that_is_made_anew_keeps_its_tokens_and_keys_and_one_that_is_deleted_leaves_nothing(
    backend: LocalBackend, tmp_path: Path
) -> None:
    wanted = cluster()
    directory = Home(tmp_path).cluster(wanted.metadata.uid)
    for name in ("secrets/client-token", "secrets/api-keys.json", "gcs/tables", "plan.json"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("x")

    assert asyncio.run(backend.remove(wanted)).state is RemovalState.GONE
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*")) == [
        "secrets",
        "secrets/api-keys.json",
        "secrets/client-token",
    ]
    assert isinstance(asyncio.run(backend.observe(wanted)), Absent)

    metadata = wanted.metadata.model_copy(update={"deletion_timestamp": datetime.now(UTC)})
    assert asyncio.run(backend.remove(wanted.model_copy(update={"metadata": metadata}))).state is RemovalState.GONE
    assert not directory.exists()


def test_an_unreadable_proc_freezes_everything(tmp_path: Path) -> None:
    blind = LocalBackend(Home(tmp_path), processes=Processes(tmp_path / "missing"))
    assert isinstance(asyncio.run(blind.observe(cluster())), Unknown)
    assert asyncio.run(blind.remove(cluster())).state is RemovalState.UNKNOWN
    with pytest.raises(BackendRefusal) as refused:
        asyncio.run(blind.ensure(cluster(), DESIRED))
    assert refused.value.reason is ClusterReason.BACKEND_UNREACHABLE


def test_an_unreadable_journal_is_unknown(backend: LocalBackend, tmp_path: Path) -> None:
    wanted = cluster()
    (Home(tmp_path).cluster(wanted.metadata.uid) / "cluster.json").mkdir(parents=True)
    assert isinstance(asyncio.run(backend.observe(wanted)), Unknown)


def test_it_is_a_cluster_backend(backend: LocalBackend) -> None:
    port: ClusterBackend = backend
    assert len(port.template_hash(cluster())) == 16


def test_the_controllers_side_loads_neither_ray_nor_much_memory() -> None:
    code = (
        "import sys, psutil, matrix_operator.backends.local.backend, matrix_operator.backends.local.orphans\n"
        "assert not {'ray', 'vllm', 'kopf'} & set(sys.modules)\n"
        "print(psutil.Process().memory_info().rss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000 * 1024


def test_the_pulse_stands_still_until_a_process_seen_before_dies(backend: LocalBackend, tmp_path: Path) -> None:
    item = cluster()
    marker = {"MATRIX_CLUSTER_UID": item.metadata.uid, "MATRIX_HOME": str(tmp_path), "MATRIX_CLUSTER_PART": "gcs"}
    process = subprocess.Popen(["gcs_server", "60"], executable="/bin/sleep", env=marker, start_new_session=True)
    try:
        asyncio.run(backend.observe(item))
        before = asyncio.run(backend.pulse(item))
        assert before
        assert asyncio.run(backend.pulse(item)) == before
    finally:
        process.kill()
        process.wait()
    assert asyncio.run(backend.pulse(item)) != before
