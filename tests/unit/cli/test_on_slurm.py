"""Manifests that become jobs of the site."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_cli.on_slurm import choose, on_slurm
from matrix_client.context import open_context
from matrix_client.errors import UsageError
from matrix_crds.loading import Manifest, load_manifests

SITE = "site: fair\nsharedDirectory: /shared/alice\nprofiles: {default: {python: /opt/bin/python}, gpu: {python: /opt/bin/python}}\n"
CLUSTER = b"apiVersion: matrix.dev/v1alpha1\nkind: MatrixCluster\nmetadata: {name: lab}\nspec: %s\n"


def manifests(spec: bytes = b"{}") -> list[Manifest]:
    return list(load_manifests(CLUSTER % spec, "lab.yaml"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "matrix" / "site.yaml"
    file.parent.mkdir()
    file.write_text(SITE)
    return file


def placed(given: list[Manifest], profile: str | None = None, context: str = "local") -> list[object]:
    return [manifest.raw["spec"].get("backend") for manifest in on_slurm(given, profile, open_context(context, "/nowhere"))]


def test_a_cluster_without_a_backend_gets_the_sites(site: Path) -> None:
    assert placed(manifests()) == [{"slurm": {"site": "fair", "profile": "default"}}]
    assert placed(manifests(), "gpu") == [{"slurm": {"site": "fair", "profile": "gpu"}}]


def test_one_that_names_its_own_is_refused(site: Path) -> None:
    with pytest.raises(UsageError, match="names its backend itself"):
        placed(manifests(b"{backend: {local: {}}}"))
    assert placed(manifests(b"{backend: {slurm: {site: fair, profile: gpu}}}"), "gpu") == [{"slurm": {"site": "fair", "profile": "gpu"}}]


def test_an_unknown_profile_and_a_missing_file_say_what_to_do(site: Path) -> None:
    with pytest.raises(UsageError, match="no profile 'huge'; the site's file has default, gpu"):
        placed(manifests(), "huge")
    site.unlink()
    with pytest.raises(UsageError, match="matrix bridge init"):
        placed(manifests())


def test_of_several_profiles_without_a_default_one_has_to_be_named() -> None:
    assert choose(None, ["cpu"]) == "cpu"
    with pytest.raises(UsageError, match="--profile; the site's file has cpu, gpu"):
        choose(None, ["cpu", "gpu"])


def test_it_is_for_this_machine_alone(site: Path) -> None:
    with pytest.raises(UsageError, match="only in the context local"):
        placed(manifests(), context="kubernetes")
