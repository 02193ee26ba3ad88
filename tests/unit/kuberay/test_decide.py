"""The next step about a RayCluster, and what is refused before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from matrix_crds.cluster import HostPath, ModelCache, Storage
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.decide import Create, Replace, Step, Wait, decide
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.render import ray_cluster
from matrix_operator.backends.kuberay.sight import Sight, sight
from matrix_operator.backends.port import BackendRefusal
from tests.unit.kuberay.builders import SETTINGS, allocation, cluster, ending, event, live, pod
from tests.unit.kuberay.manifests import GPU


def step(spec: dict[str, Any], seen: Sight) -> Step | None:
    of = cluster(spec)
    return decide(of, allocation(of), seen, SETTINGS)


def refusal(spec: dict[str, Any], seen: Sight) -> BackendRefusal:
    with pytest.raises(BackendRefusal) as caught:
        step(spec, seen)
    return caught.value


def test_what_is_missing_is_made() -> None:
    of = cluster({})
    assert step({}, Sight(None)) == Create(ray_cluster(of, SETTINGS, allocation(of)))


def test_nothing_is_made_beside_pods_of_a_former_one() -> None:
    assert step({}, Sight(None, (pod(),))) == Wait("waiting for pods of the former RayCluster to end: lab-head-x")


def test_a_raycluster_that_is_going_is_waited_for() -> None:
    assert step({}, Sight(ending(live(cluster())))) == Wait("the RayCluster is being deleted")


def test_a_change_is_written_and_then_nothing_is() -> None:
    found = live(cluster({"workerGroups": [{"name": "w"}]}))
    changed = step({"workerGroups": [{"name": "w", "replicas": 3}]}, Sight(found))
    assert isinstance(changed, Replace)
    assert step({"workerGroups": [{"name": "w", "replicas": 3}]}, Sight(changed.ray_cluster)) is None


def test_a_template_that_the_allocation_has_is_written() -> None:
    changed = step({"head": {"resources": {"cpu": 8}}}, Sight(live(cluster())))
    assert isinstance(changed, Replace)
    assert changed.ray_cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "8"


def test_where_the_manifest_says_nothing_the_site_says_where_files_go() -> None:
    """For what is made from now on; what runs keeps what it has."""
    site = replace(SETTINGS, model_cache=ModelCache(host_path=HostPath(path="/data/models")), storage=Storage(uri="s3://bucket/lab"))
    silent, own = cluster({"workerGroups": [{"name": "w"}]}), cluster({"modelCache": {"emptyDir": {"sizeLimit": "5Gi"}}})
    made = decide(silent, allocation(silent), Sight(None), site)
    assert isinstance(made, Create)
    for group in (made.ray_cluster["spec"]["headGroupSpec"], *made.ray_cluster["spec"]["workerGroupSpecs"]):
        assert models_volume(group)["hostPath"]["path"] == "/data/models"
    told = decide(own, allocation(own), Sight(None), site)
    assert isinstance(told, Create)
    assert models_volume(told.ray_cluster["spec"]["headGroupSpec"])["emptyDir"] == {"sizeLimit": "5Gi"}
    assert decide(silent, allocation(silent), Sight(live(silent)), site) is None


def models_volume(group: Object) -> Object:
    [volume] = [one for one in group["template"]["spec"]["volumes"] if one["name"] == "matrix-models"]
    return volume


def foreign(labels: dict[str, str]) -> Object:
    found = live(cluster())
    return found | {"metadata": found["metadata"] | {"labels": labels}}


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ({}, "was not made by this operator"),
        ({"matrix.dev/uid": "old", "matrix.dev/name": "lab"}, "belongs to a former MatrixCluster (uid old)"),
    ],
)
def test_a_raycluster_of_somebody_else_is_not_touched(labels: dict[str, str], whose: str) -> None:
    refused = refusal({}, Sight(foreign(labels)))
    assert refused.reason is ClusterReason.NAME_TAKEN
    assert whose in refused.message
    assert "kubectl delete raycluster lab -n team" in refused.message


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        (
            {"workerGroups": [GPU | {"accelerator": "B200"}]},
            ClusterReason.INVALID_SPEC,
            "B200 is not known to this operator (it knows H100, MI300X)",
        ),
        ({"workerGroups": [{"name": "headgroup"}]}, ClusterReason.INVALID_SPEC, "workerGroups[0].name headgroup"),
        (
            {"workerGroups": [{"name": "w", "autoscale": {"max": 2}}, {"name": "v", "rayResources": {"slots": 0.5}}]},
            ClusterReason.INVALID_SPEC,
            "spec.workerGroups[1].rayResources.slots is not whole",
        ),
        ({"ray": {"version": "2.51.0"}}, ClusterReason.RAY_VERSION_MISMATCH, "older than 2.52.0"),
        ({"ray": {"version": "2.59.0"}}, ClusterReason.RAY_VERSION_MISMATCH, "spec.backend.kubernetes.image"),
        ({"storage": {"persistentVolumeClaim": {"claimName": "c", "path": "a/../.."}}}, ClusterReason.INVALID_SPEC, "spec.storage"),
        (
            {"workerGroups": [{"name": "w", "kubernetes": {"template": {"spec": {"containers": [{"image": "x"}]}}}}]},
            ClusterReason.INVALID_SPEC,
            "template.spec.containers[0] must be a mapping with `name`",
        ),
        ({"suspend": True, "backend": {"kubernetes": {"queueName": "q"}}}, ClusterReason.NOT_SUPPORTED, "Kueue suspends"),
    ],
)
def test_what_no_cluster_can_be_made_of_is_refused_with_what_to_write(spec: dict[str, Any], reason: ClusterReason, words: str) -> None:
    refused = refusal(spec, Sight(None))
    assert refused.reason is reason
    assert words in refused.message


def test_another_ray_is_fine_in_an_image_of_ones_own() -> None:
    assert isinstance(step({"ray": {"version": "2.59.0"}, "backend": {"kubernetes": {"image": "x"}}}, Sight(None)), Create)


def test_a_site_may_have_an_image_for_another_ray() -> None:
    richer = replace(SETTINGS, ray_images={"2.59.0": "other"})
    of = cluster({"ray": {"version": "2.59.0"}})
    made = decide(of, allocation(of), Sight(None), richer)
    assert isinstance(made, Create)
    assert _images(made.ray_cluster) == {"other"}
    usual = decide(cluster(), allocation(cluster()), Sight(None), richer)
    assert isinstance(usual, Create)
    assert _images(usual.ray_cluster) == {SETTINGS.image}


def _images(made: Object) -> set[str]:
    templates = [made["spec"]["headGroupSpec"]["template"], *(group["template"] for group in made["spec"].get("workerGroupSpecs", ()))]
    return {container["image"] for template in templates for container in template["spec"]["containers"]}


def test_a_cluster_that_runs_is_not_refused_for_what_the_site_has_taken_back() -> None:
    spec = {"workerGroups": [GPU]}
    of = cluster(spec)
    poorer = type(SETTINGS)(image=SETTINGS.image)
    assert decide(of, allocation(of), Sight(live(of)), poorer) is None


def test_a_change_that_kuberay_refuses_is_told_while_the_rest_goes_on() -> None:
    seen = Sight(live(cluster()), (pod(),), (event(),))
    refused = refusal({}, seen)
    assert refused.reason is ClusterReason.INVALID_SPEC
    assert "worker group w has minReplicas 9 greater than maxReplicas 3" in refused.message
    assert isinstance(step({"suspend": True}, seen), Replace)  # a correction is written all the same


def test_only_pods_of_this_very_cluster_are_seen() -> None:
    other = pod("other")
    other["metadata"]["labels"]["matrix.dev/uid"] = "old"
    assert sight(cluster(), None, [other, pod("mine")]).pods == (pod("mine"),)
