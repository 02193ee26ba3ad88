"""From sbatch to a head that is ready, our job script beside the bare one with `ray start --head`, on an idle Slurm of the lab. Needs root:
it brings the Slurm up itself."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil

from bench.report import Row, paired_ratio, report
from matrix_slurm_bridge.cluster_directory import RAY_TOKEN
from matrix_slurm_bridge.node.network import answers, answers_http
from tests.e2e.slurm.node.cluster import Cluster, until
from tests.lab.slurm.lab import Node, SlurmLab
from tests.lab.slurm.needs import SlurmMissing

RUNS = int(os.environ.get("RUNS", "10"))
GCS, DASHBOARD = 6379, 8265
BARE = """#!/bin/bash
#SBATCH --cpus-per-task=1
#SBATCH --mem=1500M
#SBATCH --nodelist={node}
#SBATCH --output={log}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} RAY_USAGE_STATS_ENABLED=0 PATH={bin}:$PATH
exec ray start --head --block --node-ip-address={address} --port={gcs} --dashboard-host={address} --dashboard-port={dashboard} \\
  --num-cpus=0 --memory=1572864000 --object-store-memory=157286400 --temp-dir=/tmp/ray-$SLURM_JOB_ID
"""


def seconds_to(begin: Callable[[], object], address: Callable[[], tuple[str, int, int] | None], token: str) -> tuple[float, float]:
    """From `begin` until GCS and dashboard answer, and until the head is alive in the dashboard's list of nodes."""
    before = time.perf_counter()
    begin()
    host, gcs, dashboard = until(address, lambda: "it says where it is")
    until(lambda: answers(host, gcs, 1) and answers_http(host, dashboard, 1), lambda: "GCS and dashboard answer")
    ready = time.perf_counter() - before
    until(lambda: is_alive(host, dashboard, token), lambda: "the head is alive")
    return ready, time.perf_counter() - before


def is_alive(host: str, dashboard: int, token: str) -> bool:
    try:
        answer = httpx2.get(f"http://{host}:{dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}, timeout=5)
        return any(node["state"] == "ALIVE" for node in answer.json()["data"]["result"]["result"])
    except (httpx2.HTTPError, ValueError, KeyError):
        return False


def ours(lab: SlurmLab, node: Node) -> tuple[float, float]:
    cluster = Cluster(lab, "alice")

    def address() -> tuple[str, int, int] | None:
        record = cluster.record()
        return (record.address, record.ports.gcs, record.ports.dashboard) if record.ports else None

    script, token = cluster.head_script(node), (cluster.directory.secrets / RAY_TOKEN).read_text()
    found = seconds_to(lambda: cluster.submit(script), address, token)
    clear(lab, node)
    return found


def bare(lab: SlurmLab, node: Node) -> tuple[float, float]:
    made = Cluster(lab, "alice")  # for its directory and its token
    token = made.directory.secrets / RAY_TOKEN
    host = node.place.address
    script = BARE.format(
        node=node.name,
        log=made.directory.logs / "bare.log",
        token=token,
        bin=Path(sys.executable).parent,
        address=host,
        gcs=GCS,
        dashboard=DASHBOARD,
    )
    begin = lambda: lab.run("sbatch", user="alice", stdin=script)  # noqa: E731
    found = seconds_to(begin, lambda: (host, GCS, DASHBOARD), token.read_text())
    clear(lab, node)
    return found


def clear(lab: SlurmLab, node: Node) -> None:
    """The next run begins on an idle node: what a bare script leaves running is ended."""
    lab.cancel_all()
    user = lab.users["alice"].uid

    def left() -> list[psutil.Process]:
        found = []
        for process in node.place.processes():
            with suppress(psutil.NoSuchProcess):
                if process.uids().real == user:
                    process.kill()
                    found.append(process)
        return found

    until(lambda: not left(), lambda: "nothing runs on the node")


def main() -> None:
    found: dict[str, list[float]] = {name: [] for name in ("ours", "bare", "ours alive", "bare alive")}
    with tempfile.TemporaryDirectory() as directory:
        try:
            with SlurmLab(Path(directory) / "lab", 1) as lab:
                [node] = lab.nodes
                ours(lab, node)  # reads what both need from the disk
                for _ in range(RUNS):
                    for name, work in (("ours", ours), ("bare", bare)):
                        ready, alive = work(lab, node)
                        found[name].append(ready)
                        found[f"{name} alive"].append(alive)
        except SlurmMissing as missing:
            print(f"slurm_start is left out: {missing}")
            return
    rows = [
        Row("our head: GCS and dashboard answer", tuple(found["ours"]), "s"),
        Row("ray start --head in a bare script", tuple(found["bare"]), "s"),
        paired_ratio("ours / bare", found["ours"], found["bare"], "<= 1.2", at_most=1.2),
        Row("our head: alive in the list of nodes", tuple(found["ours alive"]), "s"),
        Row("bare: alive in the list of nodes", tuple(found["bare alive"]), "s"),
        paired_ratio("ours / bare, until alive", found["ours alive"], found["bare alive"], "<= 1.2", at_most=1.2),
    ]
    report("slurm_start", rows)


if __name__ == "__main__":
    main()
