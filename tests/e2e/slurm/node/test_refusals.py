"""What keeps a job from coming up, told at once and in words."""

from __future__ import annotations

from dataclasses import replace

from matrix_slurm_bridge.node.status import NodePhase
from tests.e2e.slurm.node.cluster import SPEC, Cluster, until
from tests.lab.slurm.lab import SlurmLab


def test_another_ray_than_that_of_the_environment(slurm_lab: SlurmLab) -> None:
    cluster = Cluster(slurm_lab, "alice", spec={**SPEC, "ray": {"version": "1.2.3"}})
    cluster.start_head(slurm_lab.nodes[0])
    status = cluster.wait_status(cluster.head_tag(), lambda status: status.phase is NodePhase.FAILED, "fails")
    assert status.reason == "RayVersionMismatch" and "spec.ray.version is 1.2.3" in status.message
    until(lambda: not cluster.processes(slurm_lab.nodes[0]), lambda: "nothing of it is left")


def test_a_python_that_is_not_on_the_node(slurm_lab: SlurmLab) -> None:
    cluster = Cluster(slurm_lab, "alice")
    cluster.profile = replace(cluster.profile, python="/nowhere/bin/python")
    job = cluster.start_head(slurm_lab.nodes[0])
    status = cluster.wait_status(cluster.head_tag(), lambda status: status.phase is NodePhase.FAILED, "fails")
    assert status.job_id == job and "/nowhere/bin/python" in status.message and "python in the site's file" in status.message


def test_a_worker_whose_head_does_not_come(slurm_lab: SlurmLab) -> None:
    """It gives its node back after the grace."""
    cluster = Cluster(slurm_lab, "alice", grace=2)
    cluster.start_worker(slurm_lab.nodes[0])
    status = cluster.wait_status(cluster.worker_tag(), lambda status: status.phase is NodePhase.FAILED, "gives up")
    assert status.reason == "HeadNotReady" and "headLossGraceSeconds" in status.message


def test_a_token_that_is_missing(slurm_lab: SlurmLab) -> None:
    cluster = Cluster(slurm_lab, "alice")
    (cluster.directory.secrets / "ray-token").unlink()
    cluster.start_head(slurm_lab.nodes[0])
    status = cluster.wait_status(cluster.head_tag(), lambda status: status.phase is NodePhase.FAILED, "fails")
    assert "ray-token" in status.message


def test_a_shared_directory_that_takes_no_file(slurm_lab: SlurmLab) -> None:
    """Its word can't be left there either: it is in what the job prints, whose file is there already."""
    cluster = Cluster(slurm_lab, "alice")
    log = cluster.directory.logs / f"{cluster.head_tag().job_name}-1-1.log"
    cluster._write(log, "")
    cluster.directory.path.chmod(0o500)
    cluster.directory.nodes.chmod(0o500)
    cluster.start_head(slurm_lab.nodes[0])
    until(lambda: "can't be written to: Permission denied" in log.read_text(), lambda: log.read_text())
