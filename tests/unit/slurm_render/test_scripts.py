"""The job scripts: golden files, bash's own opinion of them, and what must hold whatever is asked for."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.render.errors import RenderRefusal
from matrix_slurm_bridge.render.profile import GpuDirective, ManifestDirective, ProfileDirectives
from matrix_slurm_bridge.render.script import render_head, render_worker
from tests.unit.slurm_render.builders import DIRECTORY, FULL, GPU_GROUP, PLAIN, spec, tag

GOLDEN = Path(__file__).parent / "golden"
SCRIPTS = {
    "head-plain": render_head(tag(), spec(), PLAIN, DIRECTORY).script,
    "head-full": render_head(tag(attempt=3, serial=2), spec(workerGroups=[GPU_GROUP]), FULL, DIRECTORY).script,
    "worker-plain": render_worker(tag("cpu", 4), spec(workerGroups=[{"name": "cpu"}]), PLAIN, DIRECTORY).script,
    "worker-full": render_worker(tag("gpu", 1, 3, 2), spec(workerGroups=[GPU_GROUP]), FULL, DIRECTORY).script,
}


def directives(script: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def worker(group: dict[str, Any], profile: ProfileDirectives = FULL) -> str:
    return render_worker(tag(group["name"]), spec(workerGroups=[group]), profile, DIRECTORY).script


def refusal(group: dict[str, Any], profile: ProfileDirectives = FULL) -> RenderRefusal:
    with pytest.raises(RenderRefusal) as caught:
        worker(group, profile)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_the_golden_ones(name: str) -> None:
    assert SCRIPTS[name] == (GOLDEN / f"{name}.sh").read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_it_and_a_person_too(name: str) -> None:
    subprocess.run(["bash", "-n"], input=SCRIPTS[name], text=True, check=True)
    assert len(SCRIPTS[name].splitlines()) < 100


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_directives_come_before_any_command(name: str) -> None:
    """sbatch stops reading them at the first line that is a command."""
    lines = SCRIPTS[name].splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[:last])


def test_slurm_runs_a_lost_worker_again_and_a_head_never() -> None:
    head, other = directives(SCRIPTS["head-full"]), directives(SCRIPTS["worker-full"])
    assert "no-requeue" in head and "requeue" not in head
    assert "requeue" in other and "no-requeue" not in other
    assert other["signal"].startswith("B:USR1@") and "signal" not in head


def test_sizes_are_rounded_up() -> None:
    found = directives(worker({"name": "cpu", "resources": {"cpu": "1500m", "memory": "1073741825"}}))
    assert (found["cpus-per-task"], found["mem"]) == ("2", "1025M")
    assert directives(SCRIPTS["worker-full"])["time"] == "1441"


@pytest.mark.parametrize(("limit", "notice"), [(86_400, 300), (600, 75), (60, 7), (None, 300)])
def test_a_short_job_is_told_late_to_drain(limit: int | None, notice: int) -> None:
    found = worker({"name": "cpu", "slurm": {"timeLimitSeconds": limit} if limit else {}}, replace(FULL, time_limit=None))
    assert directives(found)["signal"] == f"B:USR1@{notice}"


def test_a_head_with_workers_takes_no_work_and_one_without_does_all() -> None:
    assert "--cpus 2 \\" in SCRIPTS["head-plain"]
    assert "--cpus 0 \\" in SCRIPTS["head-full"] and directives(SCRIPTS["head-full"])["cpus-per-task"] == "2"


def test_both_ways_to_ask_for_gpus() -> None:
    per_node = ProfileDirectives("gpu", "/env/bin/python", gpu_types={"H100": "h100"})
    assert per_node.gpu_directive is GpuDirective.GPUS_PER_NODE
    assert directives(worker({"name": "gpu", "resources": {"gpu": 2}, "accelerator": "H100"}, per_node))["gpus-per-node"] == "h100:2"
    assert directives(worker({"name": "gpu", "resources": {"gpu": 2}}, per_node))["gpus-per-node"] == "2"
    assert directives(SCRIPTS["worker-full"])["gres"] == "gpu:h100:2"


def test_an_accelerator_that_the_site_does_not_know_is_refused() -> None:
    found = refusal({"name": "gpu", "resources": {"gpu": 1}, "accelerator": "A100"})
    assert found.reason is ClusterReason.INVALID_SPEC
    assert "A100" in found.message and "H100" in found.message and "gpuTypes" in found.message


@pytest.mark.parametrize("directive", ManifestDirective)
def test_what_the_profile_does_not_allow_a_manifest_can_not_name(directive: ManifestDirective) -> None:
    found = refusal({"name": "cpu", "slurm": {directive.value: "long"}}, PLAIN)
    assert found.reason is ClusterReason.INVALID_SPEC and f"slurm.{directive}" in found.message and "allowedDirectives" in found.message


@pytest.mark.parametrize("directive", ManifestDirective)
@pytest.mark.parametrize(
    "value",
    ["a b", "a\n#SBATCH --account=other", "a\nrm -rf ~", "a;b", "$HOME", "`id`", "'a'", '"a"', "a\\b", "a\tb", "a>b", "ä", "a#b", "a%j"],
)
def test_nothing_of_a_shell_gets_into_a_directive(directive: ManifestDirective, value: str) -> None:
    found = refusal({"name": "cpu", "slurm": {directive.value: value}})
    assert found.reason is ClusterReason.INVALID_SPEC and f"slurm.{directive}" in found.message


@pytest.mark.parametrize("value", ["-x", "--account=b"])
def test_a_partition_is_not_an_option(value: str) -> None:
    refusal({"name": "cpu", "slurm": {"partition": value}})


def test_bounds_of_the_profile_are_kept() -> None:
    assert "65 CPUs" in refusal({"name": "cpu", "resources": {"cpu": "65"}}).message
    assert "600.0 GiB" in refusal({"name": "cpu", "resources": {"memory": "600Gi"}}).message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"workerGroups": [{"name": "head"}]}, "rename it"),
        ({"storage": {"persistentVolumeClaim": {"claimName": "x"}}}, "file:///"),
    ],
)
def test_what_slurm_can_not_do_is_refused_for_every_job(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RenderRefusal, match=words):
        render_head(tag(), spec(**fields), PLAIN, DIRECTORY)


def test_a_volume_for_models_is_for_kubernetes_alone() -> None:
    assert render_head(tag(), spec(modelCache={"emptyDir": {}}), PLAIN, DIRECTORY).script == SCRIPTS["head-plain"]


@pytest.mark.parametrize("path", ["/shared/my dir/c", "/shared/%u/c", "relative/c", "/shared/a;b/c", "/shared/a\nb"])
def test_a_shared_directory_that_sbatch_can_not_read_is_refused(path: str) -> None:
    from matrix_slurm_bridge.cluster_directory import ClusterDirectory

    with pytest.raises(RenderRefusal, match="sharedDirectory"):
        render_head(tag(), spec(), PLAIN, ClusterDirectory(Path(path)))


def test_the_job_is_found_again_by_what_the_script_says() -> None:
    from matrix_slurm_bridge.slurm.names import parse

    found = directives(SCRIPTS["worker-full"])
    assert parse(found["job-name"], found["comment"]) == tag("gpu", 1, 3, 2)
