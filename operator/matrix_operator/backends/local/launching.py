"""Everything up to the launcher's start: checks, what is decided once for a cluster, the plan."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_operator.backends.local.checks import check_capacity, check_ray, check_supported
from matrix_operator.backends.local.environment import process_environment, recorded_environment
from matrix_operator.backends.local.gpus import assign_gpus, free_gpus
from matrix_operator.backends.local.journal import (
    HEAD,
    LAUNCHER,
    ClusterRecord,
    Journal,
    JournalUnreadable,
    LaunchPlan,
    NodePlan,
    NodeTemplate,
    Ports,
    node_of,
)
from matrix_operator.backends.local.machine import look
from matrix_operator.backends.local.places import make_directory, temporary_directory
from matrix_operator.backends.local.ports import choose_ports, is_free, require_free
from matrix_operator.backends.local.secrets import make_tokens
from matrix_operator.backends.local.spawning import Children, spawn
from matrix_operator.backends.local.template import all_nodes, hash_of, render_template, wanted_numbers
from matrix_operator.backends.local.template import object_store_memory as store_memory
from matrix_store.home import Home


def decide_cluster(cluster: MatrixCluster, desired: Allocation, home: Home, environ: Mapping[str, str], now: datetime) -> ClusterRecord:
    """What stays as it is for the cluster's life; ports that were chosen before are kept. Raises BackendRefusal, JournalUnreadable."""
    uid, template = cluster.metadata.uid, render_template(cluster.spec)
    check_supported(cluster.spec)
    workers = wanted_numbers(cluster.spec, template, {})
    nodes = all_nodes(template, workers).values()
    machine = look(environ)
    check_ray(template, machine)
    check_capacity([], nodes, machine, len(free_gpus(machine.gpu_ids, other_journals(home, uid))))
    earlier = Journal(home, uid).cluster()
    return ClusterRecord(
        uid=uid,
        name=cluster.metadata.name,
        home=str(home.root),
        directory=str(temporary_directory(uid)),
        ports=earlier.ports if earlier else choose_ports(uid, _reserved(home, uid), is_free),
        template=template,
        template_hash=hash_of(template),
        attempt=desired.attempt,
        started_at=now,
        workers=workers,
        environment=recorded_environment(environ),
    )


def launch(
    record: ClusterRecord,
    starting: Mapping[str, NodeTemplate],
    running: Mapping[str, NodeTemplate],
    attempt: int,
    *,
    environ: Mapping[str, str],
    children: Children,
    now: datetime,
) -> None:
    """Start the launcher for those nodes. Raises BackendRefusal, JournalUnreadable, OSError."""
    home = Home(Path(record.home))
    journal, machine = Journal(home, record.uid), look(environ)
    own = [part for part in journal.parts().values() if node_of(part.part) in running]
    free = free_gpus(machine.gpu_ids, other_journals(home, record.uid), own)
    check_ray(record.template, machine)
    check_capacity(running.values(), starting.values(), machine, len(free))
    if HEAD in starting:
        _require_ports(record.ports)
    make_directory(Path(record.directory))
    make_tokens(journal.secrets)
    gpus = assign_gpus(starting, free)
    nodes = tuple(
        NodePlan(
            name=name,
            template=node,
            object_store_memory=store_memory(node, machine.shared_memory, len(starting)),
            gpu_ids=gpus[name],
        )
        for name, node in starting.items()
    )
    journal.put(LaunchPlan(cluster=record, nodes=nodes, attempt=attempt, written_at=now))
    _spawn_launcher(record, journal, environ, children)


def other_journals(home: Home, uid: str) -> list[Journal]:
    """Those of the other clusters in this state directory."""
    directories = home.clusters.iterdir() if home.clusters.is_dir() else ()
    return [Journal(home, directory.name) for directory in directories if directory.name != uid]


def _spawn_launcher(record: ClusterRecord, journal: Journal, environ: Mapping[str, str], children: Children) -> None:
    argv = [sys.executable, "-m", "matrix_operator.backends.local.launcher", str(journal.plan_file)]
    with journal.launch_log.open("wb") as log:
        children.add(spawn(argv, process_environment(record, journal, LAUNCHER, environ), Path(record.directory), log))


def _require_ports(ports: Ports) -> None:
    require_free(ports.gcs, "GCS")
    require_free(ports.dashboard, "dashboard")
    require_free(ports.state, "state endpoint")
    require_free(ports.directory, "directory")
    require_free(ports.gateway, "gateway")


def _reserved(home: Home, uid: str) -> set[int]:
    reserved: set[int] = set()
    for journal in other_journals(home, uid):
        try:
            found = journal.cluster()
        except JournalUnreadable:
            continue  # what it runs holds its ports itself
        if found is not None:
            reserved |= set(found.ports.model_dump().values())
    return reserved
