"""The environment of a cluster's processes: what is listed here and nothing else, so that no RAY_ADDRESS of the user's shell leaks in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from matrix_operator.backends.local.journal import ClusterRecord, Journal
from matrix_operator.backends.local.procfs import MARKER_HOME, MARKER_PART, MARKER_UID
from matrix_operator.backends.local.secrets import RAY_TOKEN

_TAKEN_OVER = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_\w+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|(http|https|all|no)_proxy|(HTTP|HTTPS|ALL|NO)_PROXY|(CUDA|NVIDIA|NCCL|HF|HUGGING_FACE|TRANSFORMERS|TOKENIZERS|TORCH|VLLM|OMP|MKL|MATRIX)_\w+"
)
_MAY_BE_SECRET = re.compile(r"TOKEN$|KEY$|SECRET|PASSWORD|PROXY", re.IGNORECASE)
"""Passed on from whoever starts a process, never written to a file. A proxy's URL may hold a password."""


def recorded_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a cluster's processes take over from the user's environment, for as long as the cluster lives."""
    return {name: value for name, value in _taken_over(environ).items() if not _MAY_BE_SECRET.search(name)}


def process_environment(cluster: ClusterRecord, journal: Journal, part: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a part. `environ` is that of the starting process: only what may be secret is taken from it."""
    secret = {name: value for name, value in _taken_over(environ).items() if _MAY_BE_SECRET.search(name)}
    return {
        **secret,
        **cluster.environment,
        "PATH": f"{Path(sys.executable).parent}:{cluster.environment.get('PATH', os.defpath)}",
        **_without_proxy(secret),
        **_RAY,
        # Killed processes leave sockets and files where tempfile puts them (vLLM does): there they go with the cluster.
        "TMPDIR": cluster.directory,
        "RAY_AUTH_TOKEN_PATH": str(journal.secrets / RAY_TOKEN),
        "RAY_gcs_storage_path": str(journal.gcs_storage),
        MARKER_UID: cluster.uid,
        MARKER_HOME: cluster.home,
        MARKER_PART: part,
    }


_RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_gcs_storage": "rocksdb",  # a GCS that is started again finds everything; read from the environment by GCS and launcher
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's default runs every replica, and vLLM in it, at nice 15
    # Without it Ray's drivers turn 127.0.0.1 into the host's address, where nothing of ours listens.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # setproctitle (in Ray and in vLLM) otherwise writes titles over /proc/<pid>/environ, where our marker is.
    "SPT_NOENV": "1",
}


def _taken_over(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if _TAKEN_OVER.fullmatch(name)}


def _without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Loopback goes around the user's proxy."""
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY") or "", "127.0.0.1", "localhost"]
    text = ",".join(host for host in hosts if host)
    return {"no_proxy": text, "NO_PROXY": text}
