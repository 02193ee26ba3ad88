"""Ray in real jobs: what runs, what dies, what comes back, and that nothing is left. One cluster goes through all of it, in order: this
Slurm has no control groups, so nobody but ourselves clears anything away."""

from __future__ import annotations

import signal

import pytest

from matrix_slurm_bridge.node.status import NodePhase
from tests.e2e.slurm.node.cluster import Cluster, marker, until
from tests.lab.slurm.lab import Node, SlurmLab

_ON_BOTH = """
import ray, time
ray.init()
where = ray.remote(num_cpus=1)(lambda: (time.sleep(2), ray.get_runtime_context().get_node_id())[1])
print("nodes", len(set(ray.get([where.remote() for _ in range(2)]))))
"""


def everything_runs(cluster: Cluster, head_serial: int) -> None:
    cluster.wait_running(cluster.head_tag(head_serial), cluster.worker_tag(0), cluster.worker_tag(1))
    cluster.wait_alive("cpu-0", "cpu-1", "head")


def test_tasks_run_on_both_workers(cluster: Cluster) -> None:
    everything_runs(cluster, 1)
    assert "nodes 2" in cluster.run(_ON_BOTH)


@pytest.mark.parametrize("part", ["gcs/gcs_server", "dashboard/dashboard.py", "raylet/raylet"])
def test_a_part_of_the_head_is_started_again_where_it_was(cluster: Cluster, slurm_lab: SlurmLab, part: str) -> None:
    before, words = cluster.record(), "is being started again"
    recovering = cluster.head_tag()
    told = cluster.log(recovering).count(words)
    cluster.of_ray(slurm_lab.nodes[0], part, "head:").kill()
    until(lambda: cluster.log(recovering).count(words) > told, lambda: cluster.log(recovering))
    everything_runs(cluster, 1)
    assert cluster.record() == before


def test_a_worker_whose_raylet_was_killed_joins_again_in_the_same_job(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    tag, words = cluster.worker_tag(1), "Ray's raylet ended"
    told = cluster.log(tag).count(words)
    cluster.of_ray(slurm_lab.nodes[1], "raylet/raylet").kill()
    until(lambda: cluster.log(tag).count(words) > told, lambda: cluster.log(tag))
    everything_runs(cluster, 1)


def test_workers_keep_their_jobs_when_the_head_is_cancelled_and_join_the_next(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    jobs = {tag: (cluster.status(tag) or pytest.fail()).job_id for tag in (cluster.worker_tag(0), cluster.worker_tag(1))}
    cluster.cancel(cluster.record().job_id)
    cluster.wait_status(cluster.head_tag(), lambda status: status.phase is NodePhase.ENDED, "ends")
    cluster.wait_status(cluster.worker_tag(1), lambda status: status.phase is NodePhase.RECOVERING, "misses the head")
    until(lambda: not cluster.processes(slurm_lab.nodes[0], "gcs_server"), lambda: "the GCS is gone")
    cluster.start_head(slurm_lab.nodes[0], serial=2)
    everything_runs(cluster, 2)
    assert {tag: (cluster.status(tag) or pytest.fail()).job_id for tag in jobs} == jobs


def test_a_later_head_ends_the_one_that_runs(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    """As when a machine that is called lost runs on."""
    cluster.start_head(slurm_lab.nodes[1], serial=3)
    ended = cluster.wait_status(cluster.head_tag(2), lambda status: status.phase is NodePhase.ENDED, "ends")
    assert "a later head" in ended.message
    everything_runs(cluster, 3)
    assert cluster.processes(slurm_lab.nodes[0], "gcs_server") == []


def test_a_head_that_stands_by_begins_when_the_former_one_says_that_it_has_ended(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    former = cluster.record()
    cluster.start_heir(slurm_lab.nodes[0], serial=4)
    assert cluster.record() == former and cluster.alive() == ["cpu-0", "cpu-1", "head"]
    cluster.cancel(former.job_id)
    everything_runs(cluster, 4)


def test_one_whose_former_head_can_not_say_so_begins_when_it_is_told_to(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    former = cluster.record()
    heir = cluster.start_heir(slurm_lab.nodes[1], serial=5)
    cluster.program(slurm_lab.nodes[0], cluster.head_tag(4)).send_signal(signal.SIGKILL)
    until(lambda: former.job_id not in slurm_lab.run("squeue", "-h", "-o", "%i").split(), lambda: "its job has ended")
    status = cluster.status(heir)
    assert status is not None and status.phase is NodePhase.STANDBY and cluster.record() == former
    cluster.directory.standby_file(heir).unlink()
    everything_runs(cluster, 5)


def test_an_earlier_head_does_not_begin(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    """As when Slurm starts a job that was forgotten."""
    before = cluster.record()
    cluster.start_head(slurm_lab.nodes[0], serial=2)
    until(lambda: cluster.log(cluster.head_tag(2)).count("Ended: a later head") == 2, lambda: cluster.log(cluster.head_tag(2)))
    assert cluster.record() == before and cluster.alive() == ["cpu-0", "cpu-1", "head"]


def test_a_worker_that_slurm_runs_again_joins_again(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    job = (cluster.status(cluster.worker_tag(0)) or pytest.fail()).job_id
    slurm_lab.run("scontrol", "requeue", job, user="alice")
    slurm_lab.run("scontrol", "update", f"jobid={job}", "StartTime=now")
    cluster.wait_status(cluster.worker_tag(0), lambda status: status.restart == 1, "is run again")
    everything_runs(cluster, 5)


def test_two_clusters_of_one_user_and_one_of_another_share_a_node(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    node = slurm_lab.nodes[1]
    others = [Cluster(slurm_lab, "alice"), Cluster(slurm_lab, "bob")]
    for other in others:
        other.start_head(node)
    for other in others:
        other.wait_running(other.head_tag())
        other.wait_alive("head")
    ports = [one.record().ports for one in (cluster, *others)]
    assert len({port for found in ports for port in (found or pytest.fail()).model_dump().values()}) == 15
    assert cluster.alive() == ["cpu-0", "cpu-1", "head"]
    for other in others:
        other.cancel(other.record().job_id)
        other.wait_status(other.head_tag(), lambda status: status.phase is NodePhase.ENDED, "ends")
    assert cluster.alive() == ["cpu-0", "cpu-1", "head"]


def test_a_program_that_is_killed_leaves_nothing_and_touches_nobody(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    node = slurm_lab.nodes[1]
    cluster.program(node, cluster.worker_tag(1)).send_signal(signal.SIGKILL)
    until(lambda: not [p for p in cluster.processes(node) if ":cpu:1:" in marker(p)], lambda: "its processes are gone")
    cluster.wait_alive("cpu-0", "head")


def test_a_worker_whose_time_is_short_drains_and_ends(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    tag = cluster.worker_tag(0)
    slurm_lab.run("scancel", "--signal=USR1", "--batch", (cluster.status(tag) or pytest.fail()).job_id, user="alice")
    ended = cluster.wait_status(tag, lambda status: status.phase is NodePhase.ENDED, "ends")
    assert ended.message == "drained: its time limit is near"
    cluster.wait_alive("head")


def test_a_worker_that_runs_on_without_its_slurmd_gives_way_to_the_next_run(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    first, second = slurm_lab.nodes
    job = cluster.start_worker(second, 1, serial=2)
    tag = cluster.worker_tag(1, 2)
    cluster.wait_running(tag)
    second.slurmd.kill()
    try:
        until(lambda: slurm_lab.run("squeue", "-h", "-j", job, "-o", "%T").strip() == "PENDING", lambda: "Slurm gives the node up")
        assert cluster.program(second, tag).is_running()
        slurm_lab.run("scontrol", "update", f"jobid={job}", f"ReqNodeList={first.name}", "StartTime=now")
        cluster.wait_status(tag, lambda status: status.restart == 1, "is run again")
        until(lambda: f"Slurm runs this job again, on {first.name}" in cluster.log(tag), lambda: cluster.log(tag))
        until(lambda: ":cpu:1:1:2:0:" not in " ".join(marker(p) for p in cluster.processes(second)), lambda: "the former run is gone")
        cluster.wait_alive("cpu-1", "head")
    finally:
        second.slurmd.start()


def test_nothing_is_left_when_the_jobs_are_cancelled(cluster: Cluster, slurm_lab: SlurmLab) -> None:
    slurm_lab.cancel_all()
    for node in slurm_lab.nodes:
        nothing_is_left(cluster, node)


def nothing_is_left(cluster: Cluster, node: Node) -> None:
    until(lambda: not cluster.processes(node), lambda: f"{cluster.processes(node)} are gone")
    until(lambda: not list(node.place.tmp.glob("mx-*")), lambda: f"{list(node.place.tmp.iterdir())} are gone")
