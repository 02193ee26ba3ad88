"""Mutants that no schema leads to: metadata, rules between fields, templates, and what may not change after creation."""

from __future__ import annotations

import copy
from typing import Any

from tests.e2e.kubernetes.manifests import CLUSTERS, DEPLOYMENTS, Raw, manifest

FULL, QUEUED, BATCH, HERE, BARE = CLUSTERS
CHAT, REMOTE, PARROT = DEPLOYMENTS


def _cluster(**spec: Any) -> Raw:
    return manifest("MatrixCluster", "lab", spec)


def _named(**metadata: Any) -> Raw:
    return _cluster() | {"metadata": {"name": "lab"} | metadata}


def _group(**fields: Any) -> Raw:
    return _cluster(backend={"kubernetes": {}}, workerGroups=[{"name": "a"} | fields])


def _templated(template: Any) -> Raw:
    return _group(kubernetes={"template": template})


def _deployment(**spec: Any) -> Raw:
    return manifest("ModelDeployment", "lab", {"clusterRef": {"name": "here"}, "engine": {"dummy": {}}} | spec)


def _with(raw: Raw, **spec: Any) -> Raw:
    """The manifest with these fields of its spec; None takes one away."""
    changed = copy.deepcopy(raw)
    changed["spec"] = {key: value for key, value in (changed["spec"] | spec).items() if value is not None}
    return changed


def _deep(levels: int) -> Raw:
    nested: Raw = {}
    for _ in range(levels):
        nested = {"x": nested}
    return nested


_NAMES: tuple[Any, ...] = (
    "", "a", "-a", "a-", "a--b", "9a", "a9", "A", "a.b", "a_b", "a b", "a/b", "ü", "a\n", "a" * 40, "a" * 41, "a" * 63, "a" * 64, "a" * 254,
    None, 7, True, [], {},
)  # fmt: skip
_KEYS = (
    "a", "A", "a.b_c-d", "-a", "a-", "", "a b", "ü", "a/b", "a.b/c", "a..b/c", "a.-b/c", "-a/b", "a-/b", "a./b", "A.b/c", "a/B", "a_b/c",
    "a/b/c", "/a", "a/", "a\n", "x" * 63, "x" * 64, f"a/{'x' * 63}", f"a/{'x' * 64}", f"{'x' * 253}/a", f"{'x' * 254}/a",
    f"{'x' * 300}/a", f"{'x' * 64}.y/a",
)  # fmt: skip
_VALUES: tuple[Any, ...] = ("", "a", "A.b_c-9", "-a", "a-", "a b", "a\n", "ü", "x" * 63, "x" * 64, None, 1, True, [], {})
_TEXTS: tuple[Any, ...] = ("", "a b\n\t", "ü😀", "\0", "x" * (256 * 1024 - 3), "x" * (256 * 1024 - 2), None, 1, True, [], {})
_SORTS: tuple[Any, ...] = (None, [], "x", 1, {})

METADATA = {
    **{f"metadata.name {name!r:.50}": _named(name=name) for name in _NAMES},
    **{f"label key {key!r:.50}({len(key)})": _named(labels={key: "v"}) for key in _KEYS},
    **{f"annotation key {key!r:.50}({len(key)})": _named(annotations={key: "v"}) for key in _KEYS},
    **{f"label value {value!r:.50}": _named(labels={"a": value}) for value in _VALUES},
    **{f"annotation value {value!r:.50}({len(str(value))})": _named(annotations={"key": value}) for value in _TEXTS},
    **{f"{count} labels": _named(labels={f"a{i}": "v" for i in range(count)}) for count in (0, 64, 65, 200)},
    **{f"{count} annotations": _named(annotations={f"a{i}": "v" for i in range(count)}) for count in (64, 65, 200)},
    "annotations too large in sum": _named(annotations={"a": "x" * 200_000, "b": "x" * 62_143}),
    "annotations just not too large in sum": _named(annotations={"a": "x" * 200_000, "b": "x" * 62_142}),
    "annotations too large in bytes": _named(annotations={"a": "ü" * 150_000}),
    **{f"metadata is {value!r}": _cluster() | {"metadata": value} for value in _SORTS},
    **{f"metadata.{key} {value!r}": _named(**{key: value}) for key in ("labels", "annotations") for value in _SORTS},
    **{f"metadata.{key}": _named(**{key: 1}) for key in ("lables", "Labels", "surprise", "spec")},
    "metadata with an unknown field without a value": _named(surprise=None),
    "metadata.generateName": _named(generateName="lab-"),
    "metadata.uid": _named(uid="8a5b0a4e-2c0e-4b6e-9a55-2d1d4b0b8a11"),
    "metadata.creationTimestamp": _named(creationTimestamp="2026-01-31T12:00:00Z"),
    "metadata.finalizers": _named(finalizers=["example.org/x"]),
    "unknown field": _cluster() | {"surprise": 1},
    "unknown field without a value": _cluster() | {"surprise": None},
    "field of another case": _cluster() | {"Spec": {}},
    "no spec": {key: value for key, value in _cluster().items() if key != "spec"},
    "spec without a value": _cluster() | {"spec": None},
    "a status": _cluster() | {"status": {"summary": "x"}},
    "a status with an unknown field": _cluster() | {"status": {"surprise": "x"}},
    "a status of the wrong type": _cluster() | {"status": 5},
    "another version": _cluster() | {"apiVersion": "matrix.dev/v1"},
    "another group": _cluster() | {"apiVersion": "apps/v1"},
    "another kind": _cluster() | {"kind": "ModelDeployment"},
    "kind of another case": _cluster() | {"kind": "matrixcluster"},
    **{f"without {key}": {k: v for k, v in _cluster().items() if k != key} for key in ("apiVersion", "kind", "metadata")},
}
"""The kind stays MatrixCluster in the address: an API server that gets another kind refuses it, as we refuse one that does not exist."""

RULES = {
    "no backend given": _cluster(backend={}),
    "a backend without a value": _cluster(backend={"local": None}),
    "two backends": _cluster(backend={"local": {}, "slurm": {"site": "a"}}),
    "three backends": _cluster(backend={"local": {}, "slurm": {"site": "a"}, "kubernetes": {}}),
    "one backend and one without a value": _cluster(backend={"local": {}, "slurm": None}),
    "two storages": _cluster(storage={"uri": "s3://a/b", "persistentVolumeClaim": {"claimName": "c"}}),
    "no storage given": _cluster(storage={}),
    "two caches": _cluster(modelCache={"hostPath": {"path": "/a"}, "emptyDir": {}}),
    "empty cache": _cluster(modelCache={"emptyDir": {}}),
    "min above max": _group(autoscale={"min": 3, "max": 2}),
    "min is max": _group(autoscale={"min": 2, "max": 2}),
    "min above max, both with a point": _group(autoscale={"min": 3.0, "max": 2.0}),
    "min below max, both with a point": _group(autoscale={"min": 1.0, "max": 2.0}),
    "max alone": _group(autoscale={"max": 1}),
    "max 0": _group(autoscale={"max": 0}),
    "replicas and autoscale": _group(replicas=1, autoscale={"max": 2}),
    "replicas without a value and autoscale": _group(replicas=None, autoscale={"max": 2}),
    "autoscale on the default backend": _cluster(workerGroups=[{"name": "a", "autoscale": {"max": 2}}]),
    "autoscale on this machine": _cluster(backend={"local": {}}, workerGroups=[{"name": "a", "autoscale": {"max": 2}}]),
    "autoscale on Slurm": _with(BATCH, workerGroups=[{"name": "a"}, {"name": "b", "autoscale": {"max": 2}}]),
    "autoscale in a queue": _with(QUEUED, workerGroups=[{"name": "a", "autoscale": {"max": 2}}]),
    "suspend on Slurm": _with(BATCH, suspend=True),
    "no suspend on Slurm": _with(BATCH, suspend=False),
    "the same group twice": _cluster(workerGroups=[{"name": "a"}, {"name": "b"}, {"name": "a", "replicas": 3}]),
    "the same adapter twice": _with(
        CHAT, model={"source": "hf://a/b", "adapters": {"items": [{"name": "a", "source": f"hf://a/{x}"} for x in "bc"]}}
    ),
    "no engine given": _deployment(engine={}),
    "two engines": _deployment(engine={"dummy": {}, "vllm": {}}),
    "vllm without a model": _deployment(engine={"vllm": {}}),
    "vllm with a model": _deployment(engine={"vllm": {}}, model={"source": "file:///m"}),
    "vllm with an adapter of the dummy's": _deployment(model={"adapters": {}}),
    "a model with the dummy": _deployment(model={"source": "file:///m"}),
    "external with a source": _with(REMOTE, model={"source": "hf://a/b"}),
    "external with a name": _with(REMOTE, model={"servedName": "x"}),
    "one GPU too few": _with(CHAT, resources={"gpu": 3}),
    "GPUs without resources": _with(CHAT, resources=None),
    "no GPU, not parallel": _deployment(engine={"vllm": {}}, model={"source": "file:///m"}, resources={"gpu": 0}),
    "one GPU, not parallel": _deployment(engine={"vllm": {}}, model={"source": "file:///m"}, resources={"gpu": 1}),
    "replicas min above max": _deployment(autoscale={"min": 3, "max": 2}),
    **{
        f"model.source {source!r}": _deployment(engine={"vllm": {}}, model={"source": source})
        for source in (
            "hf://a/b", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a/b@c@d", "hf://a /b", "hf://a\xa0x/b", "hf://ü/b", "HF://a/b", "a/b",
            "file:///", "file:///ü", "file://a", "file:///a\x85b", "package://a", "package://a/b", "package://1a/b", "package://a.b/c d",
            "package://ä/b", "s3://a/b",
        )
    },
    **{
        f"storage.uri {uri!r}": _cluster(storage={"uri": uri})
        for uri in ("s3://a", "s3:///a", "gs://a/b", "file://a", "s3://a/\x1cb", "s3://a/b\n", "s3://\xa0/b", "https://a/b", "s3://a b")
    },
    **{
        f"failureRate {rate!r}": _deployment(engine={"dummy": {"failureRate": rate}})
        for rate in ("0", "1", "1.0", "1.1", "0.999", "00", ".5", "1e-1", "-0", "0.", "٠", 0, 1, 0.5)
    },
}  # fmt: skip

TEMPLATES = {
    "template without fields": _templated({}),
    "template with text": _templated({"a": "x" * 1000, "b": "ü"}),
    "template of nearly 64 KiB": _templated({"a": "x" * (64 * 1024 - 20)}),
    "template over 64 KiB": _templated({"a": "x" * (64 * 1024)}),
    "template 40 deep": _templated(_deep(40)),
    "template 60 deep": _templated(_deep(60)),
    "template with a NUL": _templated({"a": "\0"}),
    "template with a number over 64 bits": _templated({"a": 10**30}),
    "template with the largest number": _templated({"a": 2**63 - 1}),
    "template with an entry without a value": _templated({"a": [None, {"b": None}]}),
}

CREATIONS: dict[str, Raw] = METADATA | RULES | TEMPLATES

UPDATES: dict[str, tuple[Raw, Raw]] = {
    "nothing changes": (FULL, FULL),
    "a spec that is gone": (BARE, {key: value for key, value in BARE.items() if key != "spec"}),
    "the backend is set": (BARE, _with(BARE, backend={"local": {}})),
    "the backend is unset": (HERE, _with(HERE, backend=None)),
    "the backend without a value": (HERE, HERE | {"spec": {"backend": None}}),
    "another backend": (HERE, _with(HERE, backend={"kubernetes": {}})),
    "another image": (FULL, _with(FULL, backend={"kubernetes": {"image": "other:1", "serviceAccountName": "workers"}})),
    "the image is unset": (FULL, _with(FULL, backend={"kubernetes": {"serviceAccountName": "workers"}})),
    "the queue is unset": (QUEUED, _with(QUEUED, backend={"kubernetes": {}})),
    "another site": (BATCH, _with(BATCH, backend={"slurm": {"site": "other", "profile": "gpu"}})),
    "the default profile": (BATCH, _with(BATCH, backend={"slurm": {"site": "fair"}})),
    "fields without values": (FULL, _with(FULL, backend=FULL["spec"]["backend"] | {"slurm": None})),
    "no worker groups": (FULL, _with(FULL, workerGroups=None)),
    "another order of the groups": (FULL, _with(FULL, workerGroups=FULL["spec"]["workerGroups"][::-1])),
    "a group that scales by itself now": (FULL, _with(FULL, workerGroups=[{"name": "gpu", "autoscale": {"max": 2}}])),
    "suspended": (HERE, _with(HERE, suspend=True)),
    "suspended on Slurm": (BATCH, _with(BATCH, suspend=True)),
    "another storage": (FULL, _with(FULL, storage={"persistentVolumeClaim": {"claimName": "c"}})),
    "other labels": (FULL, FULL | {"metadata": {"name": "full", "labels": {"a": "b"}}}),
    "a bad label": (FULL, FULL | {"metadata": {"name": "full", "labels": {"a": "-"}}}),
    "another cluster": (CHAT, _with(CHAT, clusterRef={"name": "other"})),
    "no cluster": (CHAT, _with(CHAT, clusterRef=None)),
    "another engine": (CHAT, _with(PARROT, clusterRef={"name": "full"}) | {"metadata": CHAT["metadata"]}),
    "other replicas": (CHAT, _with(CHAT, replicas=0)),
    "replicas below 0": (CHAT, _with(CHAT, replicas=-1)),
    "another model": (CHAT, _with(CHAT, model={"source": "hf://a/b"})),
}
"""(old, new)."""
