"""The lab itself: machines of their own, side by side, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.runtime.pod_network import ip
from tests.lab.api import wait_for
from tests.lab.slurm import cgroups
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.place import REPOSITORY

pytestmark = pytest.mark.timeout(300)


def test_each_machine_has_a_name_an_address_and_a_tmp_of_its_own_and_one_file_system_for_all(slurm_lab: SlurmLab) -> None:
    lab = slurm_lab
    for node in lab.nodes:
        lab.run("sbatch", "--wait", f"--nodelist={node.name}", f"--output={lab.shared}/%N", user="alice", stdin=SEEN)
        seen = (lab.shared / node.name).read_text().split()
        assert seen == [node.name, node.place.address, "alice", "3.11" if sys.version_info[:2] == (3, 11) else seen[3]]
        assert [path.name for path in node.place.tmp.glob("mine-*")] == [f"mine-{node.name}"]
    assert lab.run("hostname").strip() == lab.login.name and not Path("/etc/passwd").read_text().count("alice:")


SEEN = f"""#!/bin/bash
hostname; hostname -I | cut -d' ' -f1; id -un; touch /tmp/mine-$(hostname)
{REPOSITORY}/.venv/bin/python -c 'import sys, ray; print("%d.%d" % sys.version_info[:2])'
"""


def test_a_node_whose_network_is_cut_is_away_and_comes_back(slurm_lab: SlurmLab) -> None:
    node = slurm_lab.nodes[1]
    reached = ("/usr/bin/timeout", "3", "/bin/bash", "-c", f"exec 3<>/dev/tcp/{node.place.address}/6818")
    wait_for(lambda: slurm_lab.login.run(*reached).returncode == 0, "the node is reached", 30)
    node.place.disconnect()
    try:
        assert slurm_lab.login.run(*reached).returncode != 0
    finally:
        node.place.connect()
    wait_for(lambda: slurm_lab.login.run(*reached).returncode == 0, "the node is back", 30)
    slurm_lab.wait_idle()


def test_two_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    groups = cgroups.available()
    with SlurmLab(tmp_path / "one", 1, cgroups=groups) as one, SlurmLab(tmp_path / "two", 1, cgroups=groups) as two:
        assert one.nodes[0].name != two.nodes[0].name
        for lab in (one, two):
            lab.run("sbatch", "--wrap=setsid sleep 600 & sleep 600", "-o", "/dev/null", user="bob")
            wait_for(lambda lab=lab: "R" in lab.run("squeue", "-h", "-o", "%t"), "the job runs", 60)  # type: ignore[misc]
        processes = [process for lab in (one, two) for place in (lab.login, lab.nodes[0].place) for process in place.processes()]
        assert processes
        names = [one.nodes[0].name, two.nodes[0].name]
    assert not any(process.is_running() for process in processes)
    assert list(tmp_path.iterdir()) == []
    assert not [group for name in names for group in Path("/sys/fs/cgroup").glob(f"*/slurm_{name}")]


def test_by_hand_it_prints_what_to_type_and_ends_when_it_is_told_to(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.lab.slurm", "--nodes", "1", str(tmp_path / "lab")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        path = lines[3].removeprefix("export PATH=").partition(":")[0]
        squeue = subprocess.run(["squeue", "--version"], env={"PATH": f"{path}:{os.environ['PATH']}"}, capture_output=True, text=True)
        assert squeue.stdout.startswith("slurm")
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
    assert status == 0 and not (tmp_path / "lab").exists()


def test_it_dies_with_the_process_that_made_it(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.lab.slurm", "--nodes", "1", str(tmp_path / "lab")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    finally:
        process.kill()
        process.wait(30)
    assert "1 nodes are idle" in line
    marker = str(tmp_path / "lab").encode()
    wait_for(lambda: not running_with(marker), "all of its processes are gone", 60)
    remove_network(tmp_path / "lab")


def remove_network(lab: Path) -> None:
    """That of a lab for which nobody was left to do it: there are numbers for 254 of them."""
    machines = [path.name for path in (lab / "machines").iterdir()]
    [number] = [name.removeprefix("s").removesuffix("ctl") for name in machines if name.endswith("ctl")]
    ends = [(f"mxb{number}v{count + 1}", f"mxb{number}p{count + 1}") for count in range(len(machines))]
    for link, namespace in ends:
        ip("link", "del", link)
        ip("netns", "del", namespace)
    ip("link", "del", f"mxb{number}")


def running_with(marker: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if b"SLURM_CONF=" + marker in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
