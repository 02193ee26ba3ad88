"""The CRDs on a real API server: it takes what we take, refuses what we refuse, and stores what we mean."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from matrix_crds.examples import whole_example
from matrix_crds.fields import field
from matrix_crds.registry import KINDS, KindInfo
from matrix_crds.yaml_writer import yaml_text
from tests.e2e.kubernetes.judges import Verdict, api_server, ours, ours_of_text
from tests.e2e.kubernetes.manifests import ALL, Raw, manifest
from tests.e2e.kubernetes.mutants import Mutant, mutants, used
from tests.e2e.kubernetes.schemas import Node, spec_schema
from tests.e2e.kubernetes.stored import normal
from tests.e2e.kubernetes.texts import SCALARS, texts
from tests.lab.control_plane import ControlPlane

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMESPACE = "judged"
IN_A_TEMPLATE = "the server's rules can't look into a template (it keeps unknown fields); the cluster then says InvalidSpec"
EXCEPTIONS: dict[str, tuple[Literal["pydantic", "server"], str]] = {
    "template over 64 KiB": ("pydantic", IN_A_TEMPLATE),
    "template 60 deep": ("pydantic", IN_A_TEMPLATE),
    "template with a NUL": ("pydantic", IN_A_TEMPLATE),
    "template with a number over 64 bits": ("pydantic", f"{IN_A_TEMPLATE}; it would be rounded"),
    "annotation value '\\x00'(1)": ("pydantic", "no rule of a CRD can look at annotations; a NUL in a file is a mistake"),
    "a status with an unknown field": ("server", "strict reading comes before the status is dropped; we drop it unread, whoever wrote it"),
}
"""Where the two do not agree: (who refuses, why that is right or can't be helped)."""

STRICTER_WITH_TEXT = ("is a key that is not text", "which is not supported; write plain values")
"""What we refuse in a file though kubectl takes it: for it the label `yes` is named true, and a tag that it does not know means nothing."""


@dataclass(frozen=True)
class Judged:
    mutant: Mutant
    ours: Verdict
    server: Verdict

    def __str__(self) -> str:
        return f"{self.mutant.name}: pydantic: {self.ours.words}; server: {self.server.words}"


@pytest.fixture(scope="module")
def judged(control_plane: ControlPlane) -> list[Judged]:
    """Every mutant with both verdicts."""
    wanted = mutants()

    async def ask() -> list[Verdict]:
        async with api_server(control_plane.kubeconfig, NAMESPACE) as server:
            return await server.judge(wanted)

    control_plane.api.create_namespace(NAMESPACE)
    try:
        verdicts = asyncio.run(ask())
    finally:
        control_plane.api.abandon_namespace(NAMESPACE)
    return [Judged(mutant, ours(mutant), verdict) for mutant, verdict in zip(wanted, verdicts, strict=True)]


def test_pydantic_and_the_api_server_judge_alike(judged: list[Judged]) -> None:
    differing = [case for case in judged if case.ours.accepted != case.server.accepted]
    assert [str(case) for case in differing if case.mutant.name not in EXCEPTIONS] == []
    assert {case.mutant.name: "server" if case.ours.accepted else "pydantic" for case in differing} == {
        name: who for name, (who, _) in EXCEPTIONS.items()
    }


def test_both_accept_many_and_refuse_many(judged: list[Judged]) -> None:
    updates = [case for case in judged if case.mutant.old]
    for cases, least in ((judged, 300), (updates, 40)):
        assert sum(case.ours.accepted and case.server.accepted for case in cases) >= least
        assert sum(not case.ours.accepted and not case.server.accepted for case in cases) >= least


def test_the_server_stores_what_we_would(judged: list[Judged]) -> None:
    for case in judged:
        if case.ours.spec is not None and case.server.spec is not None:
            kind = case.mutant.new["kind"]
            assert normal(kind, case.server.spec) == normal(kind, case.ours.spec), case.mutant.name


def test_the_server_gives_the_reasons_that_we_give(judged: list[Judged]) -> None:
    """Of a rule that is broken, whichever it is: its own words, with the example."""
    told = {case.mutant.name: case for case in judged}
    for name, words in {
        "two backends": "exactly one of local, kubernetes, slurm must be given; keep one of them (for example: backend: {local: {}})",
        "min above max": "min must not be more than max; lower min or raise max",
        "replicas and autoscale": "replicas and autoscale exclude each other; remove one of them",
        "vllm without a model": "the engine vllm needs a model; give model.source (for example: model: {source: hf://Qwen/Qwen3-8B})",
        "another backend": "the backend of a cluster can't be changed; give it as it was, or delete the cluster and make it anew",
        "another cluster": "a deployment can't move to another cluster",
    }.items():
        assert words in told[name].server.words and words in told[name].ours.words


def test_the_manifests_use_every_field_of_every_spec() -> None:
    """A field that comes later gets its mutants, too."""
    there = {(info.kind, place) for info in KINDS for place in _places(spec_schema(info.kind), "spec")}
    assert there - used() == set()


def _places(node: Node, place: str) -> Iterator[str]:
    yield place
    for name, inner in node.get("properties", {}).items():
        yield from _places(inner, f"{place}.{name}")
    if "items" in node:
        yield from _places(node["items"], f"{place}.[]")


def test_a_file_means_the_same_to_matrix_and_to_kubectl(control_plane: ControlPlane) -> None:
    """Above all its scalars without quotes: 010, 1e3, yes, 1_000 and their like."""
    wanted = texts()

    async def ask() -> list[Verdict]:
        async with api_server(control_plane.kubeconfig, "default") as server:
            return await server.judge_texts("MatrixCluster", list(wanted.values()))

    verdicts = dict(zip(wanted, asyncio.run(ask()), strict=True))
    assert sum(verdict.accepted for verdict in verdicts.values()) >= 100
    assert sum(not verdict.accepted for verdict in verdicts.values()) >= 100
    for name, text in wanted.items():
        mine, server = ours_of_text(text), verdicts[name]
        if mine.spec is None or server.spec is None:
            assert mine.accepted == server.accepted or any(words in mine.words for words in STRICTER_WITH_TEXT), (name, mine, server)
        else:
            assert normal("MatrixCluster", mine.spec) == normal("MatrixCluster", server.spec), name


def test_what_matrix_prints_is_read_by_kubectl_as_it_was(control_plane: ControlPlane) -> None:
    """Text that looks like a number or like yes stays text."""
    annotations = {f"text-{index}": text for index, text in enumerate(SCALARS)}
    printed = yaml_text(manifest("MatrixCluster", "printed", {}, annotations=annotations))

    async def store() -> Raw:
        async with api_server(control_plane.kubeconfig, "default") as server:
            return await server.create_text("MatrixCluster", printed)

    assert asyncio.run(store())["metadata"]["annotations"] == annotations


def _examples() -> Iterator[Any]:
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for index, text in enumerate(path.read_text().split("\n---\n")):
            yield pytest.param(text, id=f"{path.stem}-{index}")
    for info in KINDS:
        yield pytest.param(yaml_text(whole_example(info.model)), id=f"whole-{info.kind}")
        yield pytest.param(yaml_text(field(info).example), id=f"explain-{info.kind}")
    for raw in ALL:
        yield pytest.param(yaml_text(raw), id=f"full-{raw['metadata']['name']}")


@pytest.mark.parametrize("text", list(_examples()))
def test_an_example_is_stored_as_we_mean_it_exactly_as_it_is_written(text: str, control_plane: ControlPlane) -> None:
    kind: str = yaml.safe_load(text)["kind"]
    expected = ours_of_text(text)

    async def store() -> Raw:
        async with api_server(control_plane.kubeconfig, "default") as server:
            return await server.create_text(kind, text)

    stored = asyncio.run(store())
    assert expected.spec is not None, expected.words
    assert normal(kind, stored["spec"]) == normal(kind, expected.spec)


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_the_server_serves_the_kind_by_all_of_its_names(info: KindInfo, control_plane: ControlPlane) -> None:
    listed = {entry["name"]: entry for entry in control_plane.api.get("/apis/matrix.dev/v1alpha1")["resources"]}
    entry = listed[info.plural]
    assert (entry["kind"], entry["singularName"], entry["shortNames"]) == (info.kind, info.singular, [info.short])
    assert entry["categories"] == ["matrix"] and entry["namespaced"]
    assert f"{info.plural}/status" in listed
    assert (f"{info.plural}/scale" in listed) == (info.scale is not None)
