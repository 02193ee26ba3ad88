from __future__ import annotations

import pytest

from matrix_crds.cluster import MatrixClusterSpec
from matrix_operator.backends.local.journal import NodeTemplate
from matrix_operator.backends.local.template import all_nodes, hash_of, object_store_memory, render_template, wanted_numbers

GIB = 2**30


def spec(**fields: object) -> MatrixClusterSpec:
    return MatrixClusterSpec.model_validate(fields)


WITH_WORKERS = spec(
    head={"resources": {"cpu": "2", "memory": "4Gi"}},
    workerGroups=[
        {"name": "cpu", "replicas": 2, "resources": {"cpu": "500m", "memory": "1Gi"}, "rayResources": {"disk": 2}},
        {"name": "gpu", "resources": {"cpu": "1", "memory": "2Gi", "gpu": 1}, "accelerator": "H100"},
    ],
)


def nodes_of(wanted: MatrixClusterSpec, **former: int) -> dict[str, NodeTemplate]:
    """What should run of a cluster that was made as WITH_WORKERS."""
    template = render_template(WITH_WORKERS)
    return all_nodes(template, wanted_numbers(wanted, template, former))


def test_a_head_without_workers_takes_the_work() -> None:
    assert render_template(spec(head={"resources": {"cpu": "1500m", "memory": "1Gi"}})).head == NodeTemplate(cpus=2, memory=GIB)


def test_a_head_with_workers_takes_none() -> None:
    assert render_template(WITH_WORKERS).head == NodeTemplate(cpus=0, memory=4 * GIB)


def test_workers_are_named_by_group_and_index_and_default_to_one() -> None:
    nodes = nodes_of(WITH_WORKERS)
    assert list(nodes) == ["head", "cpu-0", "cpu-1", "gpu-0"]
    assert nodes["cpu-1"] == NodeTemplate(cpus=1, memory=GIB, resources={"disk": 2})
    assert nodes["gpu-0"] == NodeTemplate(cpus=1, memory=2 * GIB, gpus=1, accelerator="H100")


def test_the_template_in_force_decides_what_a_new_worker_offers() -> None:
    changed = spec(workerGroups=[{"name": "cpu", "replicas": 1, "resources": {"cpu": "8"}}, {"name": "new"}])
    assert nodes_of(changed)["cpu-0"].cpus == 1
    assert "new-0" not in nodes_of(changed)


def test_a_group_under_another_name_keeps_its_workers_while_that_one_is_held_back() -> None:
    renamed = spec(workerGroups=[{"name": "processors", "replicas": 4}, {"name": "gpu"}])
    assert list(nodes_of(renamed, cpu=2, gpu=1)) == ["head", "cpu-0", "cpu-1", "gpu-0"]
    assert list(nodes_of(spec(workerGroups=[{"name": "gpu"}]), cpu=2, gpu=1)) == ["head", "gpu-0"]


def test_the_hash_stays_the_same_from_release_to_release() -> None:
    """Another value here would roll every cluster that runs."""
    assert (
        hash_of(render_template(WITH_WORKERS.model_copy(update={"ray": WITH_WORKERS.ray.model_copy(update={"version": "2.60.0"})})))
        == GOLDEN
    )


GOLDEN = "838145436de3a775"


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"suspend": True}, False),
        ({"deletionPolicy": "Orphan"}, False),
        ({"workerGroups": [{"name": "a", "replicas": 3}]}, False),
        ({"workerGroups": [{"name": "a", "resources": {"cpu": "2"}}]}, True),
        ({"workerGroups": []}, True),
        ({"ray": {"version": "2.61.0"}}, True),
        ({"head": {"resources": {"memory": "5Gi"}}}, True),
    ],
)
def test_only_what_needs_new_nodes_changes_the_hash(change: dict[str, object], changes: bool) -> None:
    base: dict[str, object] = {"workerGroups": [{"name": "a"}]}
    assert (hash_of(render_template(spec(**base))) != hash_of(render_template(spec(**base | change)))) is changes


@pytest.mark.parametrize(
    ("memory", "shared", "nodes", "expected"),
    [
        (4 * GIB, 24 * GIB, 1, 4 * GIB // 10),
        (400 * GIB, 24 * GIB, 1, 2 * GIB),
        (4 * GIB, GIB // 2, 1, GIB // 4),
        (4 * GIB, GIB // 2, 2, GIB // 8),
        (GIB // 4, 24 * GIB, 1, 75 * 2**20),
        (4 * GIB, 0, 1, 75 * 2**20),
    ],
)
def test_the_object_store_is_small_and_fits_into_shared_memory(memory: int, shared: int, nodes: int, expected: int) -> None:
    assert object_store_memory(NodeTemplate(cpus=1, memory=memory), shared, nodes) == expected
