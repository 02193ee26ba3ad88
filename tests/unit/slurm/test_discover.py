from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from matrix_slurm_bridge import discover, site
from matrix_slurm_bridge.discover import Findings, SharedDirectory
from matrix_slurm_bridge.slurm.port import Partition

CPU = Partition("cpu", True, True, 40, 64, 250_000, (), timedelta(days=2))
GPU = Partition("gpu-h100", False, True, 8, 96, 1_000_000, ("gpu:h100:8(S:0-1)", "nvme:1"), None)
PLAIN = Partition("old", False, True, 2, 16, 64_000, ("gpu:2",), None)
FOUND = Findings(
    "23.11.4", "Fair 2", [CPU, GPU], "team-a", [SharedDirectory(Path("/scratch/alice"), "lustre", "SCRATCH")], Path("/v/bin/python")
)
MOUNTS = "/dev/vda / ext4 rw 0 0\nfs:/home /home nfs4 rw 0 0\nl@tcp:/s /scratch lustre rw 0 0\ntmpfs /home2 tmpfs rw 0 0\n"


def test_what_is_written_can_be_read_and_is_what_was_found() -> None:
    read = site.parse(discover.site_yaml(FOUND), "site.yaml")
    assert (read.site, read.shared_directory, read.hub) == ("fair-2", "/scratch/alice/matrix", None)
    usual, gpu = read.profiles["default"], read.profiles["gpu"]
    assert (usual.partition, usual.account, usual.python, usual.gpu_types) == ("cpu", "team-a", "/v/bin/python", {})
    assert (gpu.partition, gpu.head_partition, gpu.gpu_types) == ("gpu-h100", "cpu", {"H100": "h100"})


def test_the_head_asks_for_the_longest_time_that_its_partition_gives() -> None:
    profiles = site.parse(discover.site_yaml(FOUND), "site.yaml").directives()
    assert {name: one.head_time_limit for name, one in profiles.items()} == {"default": CPU.time_limit, "gpu": CPU.time_limit}
    without = site.parse(discover.site_yaml(replace(FOUND, partitions=[replace(CPU, time_limit=None)])), "site.yaml")
    assert without.profiles["default"].head_time_limit is None


def test_a_poor_site_gets_a_file_too() -> None:
    text = discover.site_yaml(replace(FOUND, partitions=[], account=None, shared=[], cluster="7"))
    read = site.parse(text, "site.yaml")
    assert list(read.profiles) == ["default"] and read.site == "site" and read.profiles["default"].account is None


@pytest.mark.parametrize(
    "lines", [("hub:",), ("timeLimit:",), ("headTimeLimit:",), ("account:", "timeLimit:", "allowedDirectives:", "gpuDirective:")]
)
def test_what_is_in_comments_can_be_uncommented(lines: tuple[str, ...]) -> None:
    text = discover.site_yaml(replace(FOUND, account=None))
    for line in lines:
        text = text.replace(f"# {line}", line)
    site.parse(text, "site.yaml")


def test_kinds_of_gpus() -> None:
    assert discover.gpus([CPU, GPU, PLAIN]) == {"h100": 8, "": 2}


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/alice", "nfs4"), ("/scratch", "lustre"), ("/home2/x", "tmpfs"), ("/homes", "ext4"), ("/", "ext4")]
)
def test_the_file_system_that_holds_a_path(path: str, kind: str) -> None:
    assert discover.file_system(path, MOUNTS) == kind
