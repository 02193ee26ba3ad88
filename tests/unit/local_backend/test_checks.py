from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.checks import check_capacity, check_ray, check_supported
from matrix_operator.backends.local.gpus import assign_gpus, free_gpus
from matrix_operator.backends.local.journal import Journal, NodeTemplate, PartRecord, Template
from matrix_operator.backends.local.machine import Machine, cpu_quota, gpu_ids, look, memory_left
from matrix_operator.backends.port import BackendRefusal
from matrix_store.home import Home

GIB = 2**30
MACHINE = Machine(cpus=4, memory=8 * GIB, shared_memory=4 * GIB, gpu_ids=("0", "1"), ray_version="2.60.0")
NODE = NodeTemplate(cpus=2, memory=4 * GIB)


def node(**fields: int) -> NodeTemplate:
    return NODE.model_copy(update=fields)


@pytest.mark.parametrize(
    ("running", "starting"),
    [([], [NODE, NODE]), ([node(memory=99 * GIB)], [NODE]), ([node(gpus=9)], [node(gpus=2)]), ([], [node(cpus=0), node(cpus=4)])],
)
def test_what_fits_is_let_through(running: list[NodeTemplate], starting: list[NodeTemplate]) -> None:
    check_capacity(running, starting, MACHINE, 2)


@pytest.mark.parametrize(
    ("running", "starting", "words"),
    [
        ([], [NODE, node(cpus=3)], ["5 CPUs", "this machine has 4", "lower"]),
        ([NODE], [node(cpus=3)], ["5 CPUs"]),
        ([], [NODE, node(memory=5 * GIB)], ["9.0 GiB", "8.0 GiB is available", "lower"]),
        ([], [node(gpus=2), node(gpus=1)], ["3 GPUs", "2 of this machine's 2", "CUDA_VISIBLE_DEVICES"]),
    ],
)
def test_too_little_is_refused_with_numbers_and_advice(running: list[NodeTemplate], starting: list[NodeTemplate], words: list[str]) -> None:
    with pytest.raises(BackendRefusal) as refused:
        check_capacity(running, starting, MACHINE, 2)
    assert refused.value.reason is ClusterReason.INSUFFICIENT_RESOURCES
    assert all(word in refused.value.message for word in words), refused.value.message


@pytest.mark.parametrize(
    ("installed", "words"),
    [("2.59.1", ["2.60.0", "2.59.1", "pip install"]), (None, ["not installed", "pip install 'ray[default,serve]==2.60.0'"])],
)
def test_another_ray_or_none_is_refused(installed: str | None, words: list[str]) -> None:
    with pytest.raises(BackendRefusal) as refused:
        check_ray(Template(ray_version="2.60.0", head=NODE), replace(MACHINE, ray_version=installed))
    assert refused.value.reason is ClusterReason.RAY_VERSION_MISMATCH
    assert all(word in refused.value.message for word in words), refused.value.message


def test_autoscaling_is_refused_with_the_field_and_the_way_out() -> None:
    groups = [{"name": "a"}, {"name": "b", "autoscale": {"min": 2, "max": 4}}]
    with pytest.raises(BackendRefusal, match=r"workerGroups\[1\].autoscale .* `replicas: 2`") as refused:
        check_supported(MatrixClusterSpec.model_validate({"workerGroups": groups}))
    assert refused.value.reason is ClusterReason.NOT_SUPPORTED


def test_sections_for_other_backends_do_not_matter() -> None:
    groups = [{"name": "a", "slurm": {"partition": "p"}, "kubernetes": {"template": {"spec": {}}}}]
    check_supported(MatrixClusterSpec.model_validate({"workerGroups": groups}))


def test_the_machine_is_described() -> None:
    machine = look({})
    assert machine.cpus >= 1 and machine.memory > 0 and machine.shared_memory >= 0


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_cgroups_cpu_quota_is_read(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cpu_quota(tmp_path) == cores


def test_a_cgroups_file_cache_counts_as_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    assert memory_left(tmp_path, "memory.max", "memory.current") == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_left(tmp_path, "memory.max", "memory.current") is None


@pytest.mark.parametrize(("visible", "ids"), [("0,2", ("0", "2")), ("", ()), ("-1", ()), ("GPU-ab", ("GPU-ab",)), (None, ("0", "1", "10"))])
def test_gpus_are_those_that_are_visible(tmp_path: Path, visible: str | None, ids: tuple[str, ...]) -> None:
    for name in ("nvidia0", "nvidia10", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpu_ids({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == ids


def test_no_two_nodes_of_any_cluster_get_the_same_gpu(tmp_path: Path) -> None:
    journal = Journal(Home(tmp_path), "other")
    journal.put(
        PartRecord.model_validate(
            {"part": "raylet", "argv": ["x"], "startedAt": "2026-01-01T00:00:00Z", "environment": {"CUDA_VISIBLE_DEVICES": "0,2"}}
        )
    )
    own = PartRecord(part="w-0", argv=("x",), started_at=datetime(2026, 1, 1, tzinfo=UTC), environment={"CUDA_VISIBLE_DEVICES": "4"})
    free = free_gpus(("0", "1", "2", "3", "4"), [journal], [own])
    assert free == ["1", "3"]
    assert assign_gpus({"head": node(gpus=0), "a-0": node(gpus=1), "a-1": node(gpus=1)}, free) == {"head": (), "a-0": ("1",), "a-1": ("3",)}
