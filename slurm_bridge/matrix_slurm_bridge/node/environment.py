"""The environment of Ray's processes: that of the job, as Slurm, the login files and the profile's lines made it, without what would
make a program believe that it is a step of Slurm's or belongs to another Ray, and with ours."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from matrix_slurm_bridge.cluster_directory import RAY_TOKEN
from matrix_slurm_bridge.node.places import Place
from matrix_slurm_bridge.node.plan import HEAD_COMMAND, NodePlan
from matrix_slurm_bridge.node.procfs import MARKER

_LEFT_OUT = re.compile(r"(SLURM|SBATCH|SRUN|PMI|PMIX|PMI2)_.*|RAY_(ADDRESS|NAMESPACE|REDIS_ADDRESS|JOB_.*|AUTH_TOKEN)")

_RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's default runs every replica, and vLLM in it, at nice 15
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # setproctitle (in Ray and in vLLM) otherwise writes titles over /proc/<pid>/environ, where our marker is.
    "SPT_NOENV": "1",
}


def ray_environment(plan: NodePlan, place: Place, environ: Mapping[str, str], *addresses: str) -> dict[str, str]:
    """The whole of it. What is at `addresses`, this node's and the head's, is reached without a proxy."""
    taken_over = {name: value for name, value in environ.items() if not _LEFT_OUT.fullmatch(name)}
    return {
        **taken_over,
        "PATH": f"{Path(sys.executable).parent}:{environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        **_without_proxy(environ, addresses),
        **_RAY,
        **(_head(place) if plan.command == HEAD_COMMAND else _worker(plan)),
        "TMPDIR": str(place.temporary),
        "RAY_AUTH_TOKEN_PATH": str(plan.directory.secrets / RAY_TOKEN),
        MARKER: plan.marker,
    }


def _head(place: Place) -> dict[str, str]:
    """A GCS that is started again on this node finds everything. Not on the shared file system: RocksDB wants locks and mmap that network
    file systems have or have not, and a new head gets the Serve config again anyway."""
    return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(place.gcs_storage)}


def _worker(plan: NodePlan) -> dict[str, str]:
    """Ray's own limit is a minute: then a raylet without a head ends, and its replicas with it. Here they go on serving until there is
    another head, or the grace is over."""
    return {"RAY_gcs_rpc_server_reconnect_timeout_s": str(max(int(plan.grace.total_seconds()), 60))}


def _without_proxy(environ: Mapping[str, str], addresses: Iterable[str]) -> dict[str, str]:
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY") or "", "127.0.0.1", "localhost", *addresses]
    text = ",".join(dict.fromkeys(host for host in hosts if host))
    return {"no_proxy": text, "NO_PROXY": text}
