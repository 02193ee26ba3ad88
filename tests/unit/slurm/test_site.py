from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from matrix_slurm_bridge import site
from matrix_slurm_bridge.render.profile import GpuDirective, ManifestDirective, ProfileDirectives
from matrix_slurm_bridge.site import SiteError

SMALL = """
site: fair
sharedDirectory: /scratch/alice/matrix
profiles:
  default:
    python: /scratch/alice/venv/bin/python
"""
LARGE = """
site: fair
sharedDirectory: /scratch/alice/matrix
hub: {address: "matrix.example.org:8474", tokenFile: ~/.config/matrix/token, caFile: /etc/matrix/ca.crt}
pollSeconds: 5
maxClusters: 3
maxJobs: 40
profiles:
  gpu:
    partition: gpu
    headPartition: cpu
    account: team-a
    qos: normal
    setup: ["module load cuda", 'export X="a b"']
    python: /scratch/alice/venv/bin/python
    localDirectory: /local
    gpuDirective: gres
    gpuTypes: {H100: h100}
    allowedDirectives: [partition, constraint]
    extraDirectives: [--exclusive, --reservation=lab]
    timeLimit: 12:00:00
    headTimeLimit: 7-00:00:00
    maxCpus: 64
    maxMemory: 512Gi
    portRange: 21000-25999
    headLossGraceSeconds: 600
"""


def test_what_is_absent_is_as_the_renderers_have_it() -> None:
    read = site.parse(SMALL, "site.yaml")
    assert read.directives() == {"default": ProfileDirectives("default", "/scratch/alice/venv/bin/python")}
    assert (read.hub, read.poll_seconds, read.max_clusters, read.max_jobs) == (None, 10.0, 20, 200)


def test_everything_reaches_the_renderers() -> None:
    read = site.parse(LARGE, "site.yaml")
    gpu = read.directives()["gpu"]
    assert gpu == ProfileDirectives(
        name="gpu",
        python="/scratch/alice/venv/bin/python",
        partition="gpu",
        head_partition="cpu",
        account="team-a",
        qos="normal",
        setup=("module load cuda", 'export X="a b"'),
        local_directory="/local",
        gpu_directive=GpuDirective.GRES,
        gpu_types={"H100": "h100"},
        allowed=frozenset({ManifestDirective.PARTITION, ManifestDirective.CONSTRAINT}),
        extra=("--exclusive", "--reservation=lab"),
        time_limit=timedelta(hours=12),
        head_time_limit=timedelta(days=7),
        maximum_cpus=64,
        maximum_memory=512 * 2**30,
        ports=range(21_000, 26_000),
        head_loss_grace=timedelta(minutes=10),
    )
    default = ProfileDirectives("gpu", gpu.python)
    for field in dataclasses.fields(ProfileDirectives):
        assert field.name in ("name", "python") or getattr(gpu, field.name) != getattr(default, field.name), "a setting for each of them"
    assert read.hub is not None and read.hub.address == "matrix.example.org:8474"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("partition: 'gpu --uid=0'", "profiles.default.partition: must be a plain name"),
        ('account: "a\\nb"', "profiles.default.account: must be a plain name"),
        ("qos: $(id)", "profiles.default.qos: must be a plain name"),
        ('setup: ["a\\nb"]', "profiles.default.setup[0]: must be one line"),
        ("localDirectory: scratch", "profiles.default.localDirectory: must be a path"),
        ("localDirectory: '/a b'", "profiles.default.localDirectory: must be a path"),
        ("extraDirectives: ['--exclusive --uid=0']", "profiles.default.extraDirectives[0]: must be one option"),
        ("extraDirectives: [-N2]", "profiles.default.extraDirectives[0]: must be one option"),
        ("extraDirectives: [--requeue]", "extraDirectives[0]: --requeue is set by the bridge"),
        ("extraDirectives: [--part=x]", "extraDirectives[0]: --part is set by the bridge"),
        ("gpuTypes: {H100: 'h 100'}", "gpuTypes.H100: must be a plain name"),
        ("gpuTypes: {'H 100': h100}", "must be a plain name"),
        ("timeLimit: 60", "profiles.default.timeLimit: must be hours:minutes:seconds"),
        ("timeLimit: forever", "profiles.default.timeLimit: must be hours:minutes:seconds"),
        ("portRange: 20000-20050", "200 ports"),
        ("portRange: 30000-20000", "the lower one first"),
        ("portRange: 1000-9000", "1024"),
        ("gpuDirective: gpus", "profiles.default.gpuDirective: input should be 'gpus-per-node' or 'gres'"),
        ("allowedDirectives: [account]", "allowedDirectives[0]: input should be 'partition', 'qos' or 'constraint'"),
        ("colour: red", "profiles.default.colour: there is no such setting"),
        ("allowedDirectives: [constraint]\n    extraDirectives: [--constraint=a]", "--constraint is in extraDirectives"),
    ],
)
def test_what_can_not_be_is_one_line_with_its_place(setting: str, words: str) -> None:
    text = SMALL.rstrip() + f"\n    {setting}\n"
    with pytest.raises(SiteError) as caught:
        site.parse(text, "site.yaml")
    [line] = str(caught.value).splitlines()
    assert line.startswith("site.yaml:") and words in line


def test_each_thing_is_told_with_its_line() -> None:
    with pytest.raises(SiteError) as caught:
        site.parse("site: F A\nprofiles: {}\nmaxJobs: 0\nsharedDirectory: here\n", "site.yaml")
    lines = str(caught.value).splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == [f"site.yaml:{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("text", ["", "site: a\n---\nsite: b\n", "a: [", "site: a\nsite: b\n", "- 1\n"])
def test_what_is_no_such_file_is_told(text: str) -> None:
    with pytest.raises(SiteError, match=r"site\.yaml"):
        site.parse(text, "site.yaml")


def test_a_file_that_is_not_there_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="bridge init"):
        site.load(tmp_path / "site.yaml")


def test_a_new_file_is_read_again_and_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "matrix" / "site.yaml"
    site.write_new(path, SMALL)
    assert site.load(path).site == "fair"
    with pytest.raises(SiteError, match="already"):
        site.write_new(path, LARGE)
    assert site.load(path).max_jobs == 200


def test_it_is_where_such_files_are() -> None:
    assert site.default_path({"XDG_CONFIG_HOME": "/here"}) == Path("/here/matrix/site.yaml")
    assert site.default_path({}) == Path.home() / ".config/matrix/site.yaml"
