"""A site with control groups, where Slurm ends at once what it finds in a job's."""

from __future__ import annotations

from tests.e2e.slurm.node.cluster import Cluster, until
from tests.lab.slurm.lab import SlurmLab


def test_a_head_comes_up_and_goes_without_a_trace(slurm_lab_with_cgroups: SlurmLab) -> None:
    lab = slurm_lab_with_cgroups
    node = lab.nodes[0]
    cluster = Cluster(lab, "alice")
    job = cluster.start_head(node)
    cluster.wait_running(cluster.head_tag())
    cluster.wait_alive("head")
    cluster.cancel(job)
    until(lambda: not cluster.processes(node), lambda: f"{cluster.processes(node)} are gone")
    until(lambda: not list(node.place.tmp.glob("mx-*")), lambda: f"{list(node.place.tmp.iterdir())} are gone")
