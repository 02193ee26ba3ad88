"""What is decided before a site is asked: refusals, the template's hash, what it is told, where things are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.slurm_template import slurm_template_hash
from matrix_operator.backends.port import BackendRefusal
from matrix_operator.backends.slurm.checks import check
from matrix_operator.backends.slurm.desired import absent, answers, present
from matrix_operator.backends.slurm.layout import layout
from matrix_proto.bridge_pb2 import Address, ClusterDesired, ClusterReport
from tests.fakes.sites import answer
from tests.unit.slurm_backend.builders import UID, cluster

GROUP = {"name": "gpu", "replicas": 2, "resources": {"cpu": 4, "memory": "8Gi", "gpu": 1}}


def spec(**fields: Any) -> MatrixClusterSpec:
    return MatrixClusterSpec.model_validate({"backend": {"slurm": {"site": "fair"}}, "workerGroups": [GROUP]} | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"workerGroups": [GROUP | {"name": "head"}]}, "workerGroups[0].name head is what the head's own job is called"),
        ({"storage": {"persistentVolumeClaim": {"claimName": "x"}}}, "name a directory of the site instead"),
    ],
)
def test_what_slurm_cannot_do_is_refused_with_what_to_write(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BackendRefusal) as caught:
        check(spec(**fields))
    assert words in caught.value.message


def test_what_the_schema_refuses_beside_slurm_is_refused_where_slurm_is_the_default() -> None:
    """A spec without a backend may autoscale and be suspended."""
    bare = spec(backend=None, workerGroups=[{"name": "gpu", "autoscale": {"max": 3}}])
    with pytest.raises(BackendRefusal, match="write `replicas: 1`"):
        check(bare)
    with pytest.raises(BackendRefusal, match="suspend"):
        check(spec(backend=None, suspend=True))


@pytest.mark.parametrize("fields", [{}, {"modelCache": {"emptyDir": {}}}, {"storage": {"uri": "file:///results"}}])
def test_what_it_can_do_or_does_not_need_is_let_through(fields: dict[str, Any]) -> None:
    check(spec(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"workerGroups": [GROUP | {"replicas": 7}]},
        {"workerGroups": [GROUP | {"resources": {"cpu": "4000m", "memory": "8Gi", "gpu": 1}}]},
        {"workerGroups": [GROUP | {"kubernetes": {"template": {"spec": {}}}}]},
        {"modelCache": {"emptyDir": {}}},
        {"upgradePolicy": {"type": "Recreate"}},
        {"storage": {"uri": "s3://b/x"}},
    ],
)
def test_what_needs_no_new_jobs_has_the_same_hash(fields: dict[str, Any]) -> None:
    assert slurm_template_hash(spec(**fields)) == slurm_template_hash(spec())


@pytest.mark.parametrize(
    "fields",
    [
        {"workerGroups": [GROUP | {"resources": {"cpu": 5, "memory": "8Gi", "gpu": 1}}]},
        {"workerGroups": [GROUP | {"slurm": {"partition": "long"}}]},
        {"workerGroups": [GROUP | {"rayResources": {"slots": 1}}]},
        {"workerGroups": [GROUP | {"name": "other"}]},
        {"head": {"resources": {"cpu": 9}}},
        {"ray": {"version": "2.59.0"}},
        {"modelCache": {"hostPath": {"path": "/models"}}},
    ],
)
def test_what_needs_new_jobs_has_another_hash(fields: dict[str, Any]) -> None:
    assert slurm_template_hash(spec(**fields)) != slurm_template_hash(spec())


def test_the_hash_stays_the_same_over_releases() -> None:
    """Another value for the same spec would ask for new jobs in every cluster."""
    assert slurm_template_hash(spec(ray={"version": "2.60.0"})) == "c5a56f0f0a9bb5fe"


def test_a_site_is_told_the_whole_spec_and_the_files() -> None:
    told = present(cluster({"workerGroups": [GROUP]}), 2, {"ray-token": b"r"})
    assert (told.uid, told.namespace, told.name, told.generation, told.attempt) == (UID, "team", "lab", 3, 2)
    assert told.phase == ClusterDesired.PRESENT
    assert json.loads(told.spec)["workerGroups"][0]["resources"]["gpu"] == 1
    assert dict(told.secrets) == {"ray-token": b"r"}


def test_an_end_carries_no_secret_and_names_the_attempt_that_is_there() -> None:
    told = absent(cluster(attempt=4))
    assert (told.phase, told.attempt, dict(told.secrets)) == (ClusterDesired.DELETE, 4, {})


@pytest.mark.parametrize("change", [{"generation": 2}, {"attempt": 2}, {"phase": ClusterDesired.DELETE}])
def test_an_answer_to_something_else_is_none(change: dict[str, Any]) -> None:
    wish = present(cluster(), 1, {})
    report = answer(wish, ClusterReport.ABSENT)
    assert answers(report, wish)
    for name, value in change.items():
        setattr(report, name, value)
    assert not answers(report, wish)


def test_the_runtime_finds_what_the_head_recorded() -> None:
    assert layout(ClusterReport()) is None
    report = ClusterReport(address=Address(host="10.1.2.3", state_port=8, directory_port=9, gateway_port=10, secrets_dir="/s"))
    found = layout(report)
    assert found is not None
    assert (found.state_url, found.state_port, found.directory_port, found.gateway_port) == ("http://10.1.2.3:8", 8, 9, 10)
    assert (found.secrets_dir, found.credentials_dir, found.bind_host) == ("/s", "/s", "0.0.0.0")
    report.address.host = "fd00::1"
    again = layout(report)
    assert again is not None
    assert again.state_url == "http://[fd00::1]:8"
