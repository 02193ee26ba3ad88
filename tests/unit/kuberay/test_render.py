"""Rendering: golden files, KubeRay's own schema, and what must hold whatever is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.render import ray_cluster, services
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from tests.unit.kuberay.builders import SETTINGS, UID, allocation, cluster
from tests.unit.kuberay.manifests import GPU, SPECS
from tests.unit.kuberay.structure import faults, schema_of

HERE = Path(__file__).parent
CRD = HERE.parents[3] / "shared" / "data" / "kuberay-crds" / "ray.io_rayclusters.yaml"
"""KubeRay's own, where a copy lies beside the checkout."""


def rendered(spec: dict[str, Any], settings: KubeRaySettings = SETTINGS) -> Object:
    of = cluster(spec)
    return ray_cluster(of, settings, allocation(of))


def worker(of: Object, index: int = 0) -> Object:
    return dict(of["spec"]["workerGroupSpecs"][index])


def container(template: Object) -> Object:
    return dict(template["spec"]["containers"][0])


def environment(template: Object) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(template)["env"]}


@pytest.mark.parametrize("name", SPECS)
def test_the_rendered_objects_are_the_golden_ones(name: str) -> None:
    of = cluster(SPECS[name])
    objects = [ray_cluster(of, SETTINGS, allocation(of)), *services(of)]
    assert objects == list(yaml.safe_load_all((HERE / "golden" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def schema() -> Object:
    if not CRD.exists():
        pytest.skip("no copy of KubeRay's CRDs beside the checkout")
    return schema_of(CRD, "v1")


@pytest.mark.parametrize("name", SPECS)
def test_kuberay_knows_every_field(name: str, schema: Object) -> None:
    assert list(faults(rendered(SPECS[name]), schema)) == []


def test_the_check_of_the_schema_finds_what_is_wrong(schema: Object) -> None:
    broken = rendered(SPECS["gpu"])
    broken["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Never"
    broken["spec"]["workerGroupSpecs"][0]["replicas"] = "4"
    del broken["spec"]["workerGroupSpecs"][0]["maxReplicas"]
    assert sorted(faults(broken, schema)) == [
        ".spec.headGroupSpec.template.spec.containers[0].imagePullPolice: unknown",
        ".spec.workerGroupSpecs[0].maxReplicas: missing",
        ".spec.workerGroupSpecs[0].replicas: not of type integer",
    ]


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.get("workerGroups")])
def test_every_group_says_how_many_between_what_bounds(name: str) -> None:
    for group in rendered(SPECS[name])["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_head_with_workers_takes_no_work_and_one_without_does_all() -> None:
    alone, with_workers = rendered({"head": {"resources": {"cpu": "1500m"}}}), rendered(SPECS["gpu"])
    assert alone["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "2"
    assert with_workers["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_ray_is_told_of_the_accelerator_and_of_further_resources() -> None:
    params = worker(rendered(SPECS["gpu"]))["rayStartParams"]
    assert params["resources"] == """'{"accelerator_type:H100": 1, "sandbox-slots": 8}'"""
    assert (params["num-cpus"], params["num-gpus"]) == ("32", "8")


def test_an_accelerator_selects_machines_and_may_have_a_resource_of_its_own() -> None:
    template = worker(rendered({"workerGroups": [GPU | {"accelerator": "MI300X"}]}))["template"]
    assert template["spec"]["nodeSelector"] == {"amd.com/gpu.product-name": "MI300X"}
    resources = container(template)["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "31500m", "memory": "200Gi", "amd.com/gpu": "8"}


def test_only_the_head_keeps_the_tables_of_the_gcs() -> None:
    of = rendered(SPECS["gpu"])
    head, other = of["spec"]["headGroupSpec"]["template"], worker(of)["template"]
    assert environment(head)["RAY_gcs_storage"] == "rocksdb"
    assert environment(head)["RAY_gcs_storage_path"] in [mount["mountPath"] for mount in container(head)["volumeMounts"]]
    assert not {"RAY_gcs_storage", "RAY_gcs_storage_path"} & environment(other).keys()


def test_no_token_is_in_an_environment_or_an_argument() -> None:
    for name in SPECS:
        of = rendered(SPECS[name])
        for template in (of["spec"]["headGroupSpec"]["template"], *(group["template"] for group in of["spec"]["workerGroupSpecs"])):
            assert not any("TOKEN" in variable for variable in environment(template))
            assert "args" not in container(template)


def test_suspend_is_sent_unless_a_queue_decides_it() -> None:
    assert rendered({})["spec"]["suspend"] is False
    assert rendered({"suspend": True})["spec"]["suspend"] is True
    queued = rendered(SPECS["kueue"])
    assert "suspend" not in queued["spec"]
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"


def test_what_is_deleted_with_the_cluster_is_owned_by_it_and_what_is_orphaned_is_not() -> None:
    for policy, owners in (("Delete", 1), ("Orphan", 0)):
        of = cluster({"deletionPolicy": policy})
        for made in (ray_cluster(of, SETTINGS, allocation(of)), *services(of)):
            assert len(made["metadata"].get("ownerReferences", [])) == owners


def test_pods_are_fit_for_a_namespace_with_the_restricted_standard() -> None:
    of = rendered(SPECS["volumes"])
    for template in (of["spec"]["headGroupSpec"]["template"], worker(of)["template"]):
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(template)["securityContext"]["allowPrivilegeEscalation"] is False
        assert container(template)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        kinds = {kind for volume in template["spec"]["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"projected", "secret", "emptyDir", "persistentVolumeClaim"}


def test_directories_of_claims_are_made_by_the_pods_user_and_not_by_the_kubelet() -> None:
    of = rendered(SPECS["volumes"])
    for template in (of["spec"]["headGroupSpec"]["template"], worker(of)["template"]):
        (made,) = template["spec"]["initContainers"]
        assert made["command"] == ["mkdir", "-p", "/var/lib/matrix/volumes/matrix-storage/lab/run-1"]
        assert made["volumeMounts"] == [{"name": "matrix-storage", "mountPath": "/var/lib/matrix/volumes/matrix-storage"}]
        assert made["image"] == container(template)["image"]
        assert made["securityContext"] == container(template)["securityContext"]
    assert "initContainers" not in rendered(SPECS["host-path"])["spec"]["headGroupSpec"]["template"]["spec"]


@pytest.mark.parametrize(("amount", "written"), [(8, "8"), (8.0, "8"), (0.5, "0.5")])
def test_whole_amounts_are_written_without_a_point(amount: float, written: str) -> None:
    """Ray's autoscaler ends at one that is no int."""
    of = rendered({"workerGroups": [{"name": "w", "rayResources": {"slots": amount}}]})
    assert worker(of)["rayStartParams"]["resources"] == f"'{{\"slots\": {written}}}'"


def test_a_fragment_is_laid_over_and_can_not_take_away_what_finds_the_pods_again() -> None:
    template = worker(rendered(SPECS["template"]))["template"]
    assert template["metadata"]["labels"]["matrix.dev/uid"] == UID
    assert template["metadata"]["labels"]["env"] == "prod"
    assert "name" not in template["metadata"]
    assert [entry["name"] for entry in template["spec"]["containers"]] == ["ray-worker", "sidecar"]
    assert environment(template)["RAY_worker_niceness"] == "5"
    assert "/var/run/matrix/secrets" in [mount["mountPath"] for mount in container(template)["volumeMounts"]]
    assert template["spec"]["terminationGracePeriodSeconds"] == 600


def test_a_worker_gets_the_time_to_drain() -> None:
    spec = worker(rendered({"workerGroups": [{"name": "w"}]}))["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > SETTINGS.drain_seconds
    assert environment({"spec": spec})["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == str(SETTINGS.drain_seconds)


def test_only_the_autoscaler_gets_a_token_of_the_api_server() -> None:
    plain, scaling = rendered(SPECS["gpu"]), rendered(SPECS["autoscale"])
    assert plain["spec"]["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert "automountServiceAccountToken" not in scaling["spec"]["headGroupSpec"]["template"]["spec"]
    assert worker(scaling)["template"]["spec"]["automountServiceAccountToken"] is False
    # KubeRay refuses any restartPolicy but Never beside autoscaler v2, and sets that itself.
    assert "restartPolicy" not in scaling["spec"]["headGroupSpec"]["template"]["spec"]
