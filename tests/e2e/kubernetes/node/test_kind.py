"""The provisioner `kind` without Docker: its programs only note what they are asked, and the lab's control plane plays the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError, NodeMissing
from tests.lab.image import name as image_name
from tests.lab.provision_kind import Kind, config

PROGRAM = """#!/bin/sh
echo "${{0##*/}} $*" >> {notes}
while [ $# -gt 0 ]; do case $1 in --kubeconfig) [ -e "$2" ] || cp {kubeconfig} "$2"; esac; shift; done
{then}
"""


class Programs:
    """docker, kind and helm, alone on the PATH with the shell's own."""

    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self._directory = directory / "bin"
        self._directory.mkdir()
        self._notes = directory / "notes"
        self._kubeconfig = kubeconfig
        for name in ("docker", "kind", "helm"):
            self.becomes(name, "exit 0")

    def becomes(self, name: str, then: str) -> None:
        program = self._directory / name
        program.write_text(PROGRAM.format(notes=self._notes, kubeconfig=self._kubeconfig, then=then))
        program.chmod(0o755)

    def without(self, name: str) -> None:
        (self._directory / name).unlink()

    def calls(self) -> list[str]:
        """Each command's first three words."""
        return [" ".join(line.split()[:3]) for line in self._notes.read_text().splitlines()]


@pytest.fixture
def programs(tmp_path: Path, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Programs(tmp_path, control_plane.kubeconfig)


def test_it_is_made_filled_used_and_deleted(programs: Programs, tmp_path: Path) -> None:
    told: list[str] = []
    Kind().prepare(told.append)
    with Kind().cluster(tmp_path) as cluster:
        assert cluster.image == image_name()
        with cluster.namespace() as namespace:
            assert cluster.api.exists(f"/api/v1/namespaces/{namespace}")
    made = ["docker build --build-arg", "kind create cluster", "kind load docker-image", "helm install kuberay-operator"]
    assert programs.calls() == [*made, "kind delete cluster"]
    assert len(told) == 1


def test_a_failed_step_is_told_and_the_cluster_deleted(programs: Programs, tmp_path: Path) -> None:
    programs.becomes("helm", "echo no chart >&2; exit 1")
    with pytest.raises(LabError, match=r"`helm install .*` failed: no chart"), Kind().cluster(tmp_path):
        pytest.fail("it was made")
    assert programs.calls()[-2:] == ["helm install kuberay-operator", "kind delete cluster"]


def test_without_its_programs_it_says_which(programs: Programs) -> None:
    programs.without("kind")
    with pytest.raises(NodeMissing, match="needs kind on the PATH"):
        Kind().prepare(lambda _: None)


def test_its_settings_are_of_kinds_own_format() -> None:
    found = yaml.safe_load(config())
    assert found["kind"] == "Cluster"
    assert [node["role"] for node in found["nodes"]] == ["control-plane", "worker", "worker"]
