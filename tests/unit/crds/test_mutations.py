"""Manifests that are broken in every way we could think of: refused in our words and with a place, or accepted whole."""

from __future__ import annotations

import copy
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matrix_crds.errors import ManifestError
from matrix_crds.loading import load_manifests
from matrix_crds.registry import KINDS
from matrix_crds.validation import parse, validate

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
TEXTS = {path.name: path.read_text() for path in EXAMPLES}
FULL: list[dict[str, Any]] = [
    {
        "apiVersion": "matrix.dev/v1alpha1",
        "kind": "MatrixCluster",
        "metadata": {"name": "lab", "namespace": "vision", "labels": {"a": "b"}, "annotations": {"x/y": "z"}},
        "spec": {
            "backend": {"kubernetes": {"image": "i:1", "serviceAccountName": "s"}},
            "ray": {"version": "2.60.0"},
            "head": {"resources": {"cpu": 4, "memory": "8Gi"}},
            "workerGroups": [
                {"name": "gpu", "replicas": 4, "resources": {"cpu": 32, "memory": "200Gi", "gpu": 8}, "accelerator": "H100"},
                {"name": "burst", "autoscale": {"min": 0, "max": 16, "idleTimeoutSeconds": 60}, "rayResources": {"slots": 2}},
                {"name": "odd", "kubernetes": {"template": {"spec": {"x": [1]}}}, "slurm": {"partition": "p", "timeLimitSeconds": 600}},
            ],
            "storage": {"persistentVolumeClaim": {"claimName": "c", "path": "p"}},
            "modelCache": {"emptyDir": {"sizeLimit": "5Gi"}},
            "upgradePolicy": {"type": "Recreate"},
            "suspend": True,
            "deletionPolicy": "Orphan",
        },
    },
    {
        "apiVersion": "matrix.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "chat"},
        "spec": {
            "clusterRef": {"name": "lab"},
            "model": {
                "source": "hf://a/b@c",
                "servedName": "x",
                "adapters": {"maxLoaded": 2, "items": [{"name": "q", "source": "hf://a/b"}]},
            },
            "engine": {"vllm": {"dtype": "BFloat16", "maxModelLength": 10, "tensorParallel": 2, "args": ["--x", "1"]}},
            "resources": {"cpu": "500m", "memory": "2Gi", "gpu": 2},
            "replicas": 3,
            "autoscale": {"min": 1, "max": 2, "targetOngoingRequests": 5},
            "routing": {"policy": "Prefix"},
            "rollout": {"surgePercent": 100},
            "drainSeconds": 5,
        },
    },
    {
        "apiVersion": "matrix.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "far"},
        "spec": {
            "clusterRef": {"name": "lab"},
            "engine": {
                "external": {
                    "provider": "OpenAI",
                    "model": "m",
                    "baseUrl": "https://x/v1",
                    "apiKey": {"secretKeyRef": {"name": "s", "key": "k"}},
                    "maxRequestsPerMinute": 3,
                }
            },
        },
    },
]
ODD = [None, True, 0, -1, 3.5, 10**30, "", "x", "Ü", "a\nb", "-1", "8Gi", [], ["x"], {}, {"x": 1}, "x" * 3000, [[]], {"": {}}, " lab"]
FOREIGN_WORDS = ("input should", "pydantic", "validation error", "traceback", "http://errors", "errors.pydantic.dev", "is not valid:")


def check(manifests: Any) -> None:
    """What must hold of any outcome of loading: `manifests` is a function that loads."""
    try:
        loaded = manifests()
    except ManifestError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.path or problem.line or problem.file, problem
            assert problem.message and "\n" not in str(problem), problem
            assert not any(word in str(problem).lower() for word in FOREIGN_WORDS), problem
    else:
        for resource in loaded:
            assert validate(resource.to_wire()) == resource
            assert parse(resource.to_wire()) == resource


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index of it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutate(raw: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One to three random changes."""
    raw = copy.deepcopy(raw)
    for _ in range(dice.randint(1, 3)):
        container, key = dice.choice(list(places(raw)))
        change = dice.choice(("odd", "odd", "remove", "rename", "add", "move"))
        if change == "odd":
            container[key] = copy.deepcopy(dice.choice(ODD))
        elif change == "remove":
            del container[key]
        elif change == "rename" and isinstance(container, dict):
            letters = list(key)
            letters[dice.randrange(len(letters))] = dice.choice(string.ascii_letters + "_ .")
            container["".join(letters)] = container.pop(key)
        elif change == "add" and isinstance(container, dict):
            container["".join(dice.choices(string.printable, k=5))] = copy.deepcopy(dice.choice(ODD))
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return raw


@pytest.mark.parametrize("raw", FULL, ids=lambda raw: raw["metadata"]["name"])
def test_the_full_manifests_are_valid_and_leave_no_field_out(raw: dict[str, Any]) -> None:
    check(lambda: [validate(raw)])
    validate(raw)


@pytest.mark.parametrize("seed", range(300))
def test_a_mutated_manifest_is_refused_with_its_field_or_accepted_whole(seed: int) -> None:
    dice = random.Random(seed)
    raw = mutate(dice.choice(FULL), dice)
    check(lambda: [validate(raw)])
    check(lambda: [manifest.resource for manifest in load_manifests(json.dumps(raw), "f.json")])


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("raw", FULL, ids=lambda raw: raw["metadata"]["name"])
def test_no_field_takes_an_odd_value_badly(raw: dict[str, Any], value: Any) -> None:
    for index in range(len(list(places(raw)))):
        changed = copy.deepcopy(raw)
        container, key = list(places(changed))[index]
        container[key] = value
        check(lambda changed=changed: [validate(changed)])


@pytest.mark.parametrize("seed", range(300))
def test_a_file_with_flipped_characters_is_refused_with_a_line_or_accepted_whole(seed: int) -> None:
    dice = random.Random(seed)
    letters = list(dice.choice(list(TEXTS.values())))
    for _ in range(dice.randint(1, 6)):
        place = dice.randrange(len(letters))
        letters[place] = dice.choice(("", letters[place] * 2, dice.choice(string.printable), "\t", "\0", "ü", "*", "&", "-"))
    check(lambda: [manifest.resource for manifest in load_manifests("".join(letters), "f.yaml")])


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text() | st.binary())
def test_no_text_at_all_breaks_the_loader(text: str | bytes) -> None:
    check(lambda: [manifest.resource for manifest in load_manifests(text, "f.yaml")])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(kind=st.sampled_from([info.kind for info in KINDS]), metadata=JSON, spec=JSON, status=JSON)
def test_no_data_at_all_breaks_validation(kind: str, metadata: Any, spec: Any, status: Any) -> None:
    raw = {"apiVersion": "matrix.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status}
    check(lambda: [validate(raw)])
    check(lambda: [parse(raw)])
