"""Starts Ray's processes of one node, then ends: `python -m matrix_slurm_bridge.node.ray_start`. With ray_drain.py the only module that
imports Ray; its private API is that of Ray 2.60.

It loads Ray first, reads one JSON object (LaunchPlan) from standard input, and writes one line of JSON for each process that it has
started and one at the end to standard output. `ray start` waits for each part in turn; here the dashboard comes up beside the raylet, and
nothing is started that is not used: no autoscaler, log monitor or client server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from threading import Event, Thread
from types import FrameType
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._raylet import (  # type: ignore[attr-defined]
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    RUNTIME_ENV_AGENT_PORT_NAME,
    persist_port,
)

from matrix_slurm_bridge.node.launch import LIMIT_SECONDS, LaunchPlan
from matrix_slurm_bridge.node.parts import DASHBOARD, GCS, RAYLET, last_words, spawn

_WATCH_SECONDS = 0.25
_DASHBOARD_MODULES = "ServeHead,JobHead,NodeHead,StateHead,ReportHead,UsageStatsHead"
_PARTS = {ray_constants.PROCESS_TYPE_GCS_SERVER: GCS, ray_constants.PROCESS_TYPE_RAYLET: RAYLET}


class Member(Node):  # type: ignore[misc]
    """A node whose agents listen where they were told to."""

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """A raylet waits 15 s for its agents to write down their ports, and dies: too short for a node that is overloaded, or reads its
        Python over a network. All ports are known before, so they are written for them; the raylet registers seconds earlier, too."""
        params = self._ray_params
        for name, port in (
            (METRICS_AGENT_PORT_NAME, params.metrics_agent_port),
            (METRICS_EXPORT_PORT_NAME, params.metrics_export_port),
            (DASHBOARD_AGENT_LISTEN_PORT_NAME, params.dashboard_agent_listen_port),
            (RUNTIME_ENV_AGENT_PORT_NAME, params.runtime_env_agent_port),
        ):
            persist_port(self._session_dir, self._node_id, name, port)
        super().start_raylet(*arguments, **options)


class Starter:
    """Carries out one plan, and reports to `out`."""

    def __init__(self, plan: LaunchPlan, out: int) -> None:
        self._plan = plan
        self._out = out
        self._started: list[tuple[str, list[str], Popen[bytes]]] = []
        self._over = Event()

    def run(self) -> bool:
        """Whether the node's raylet is known to the GCS."""

        def start_ray_process(command: list[str], process_type: str, **_: Any) -> Any:
            return services.ProcessInfo(self._spawn(_PARTS[process_type], command), *[None] * 7)  # the rest tells of debuggers

        services.start_ray_process = start_ray_process
        Thread(target=self._watch, daemon=True).start()
        head = self._plan.gcs_address is None
        kind = self._head_class() if head else Member
        try:
            kind(_parameters(self._plan), head=head, shutdown_at_exit=False, spawn_reaper=False)
        except Exception as error:
            self._over.set()
            self._report(failed=self._explain(error))
            return False
        self._over.set()
        self._report(done=True)
        return True

    def _watch(self) -> None:
        """Ray itself waits for most of a minute for a part that has ended at once, since a stranger took its port in the last moment."""
        while not self._over.wait(_WATCH_SECONDS):
            if any(child.poll() is not None for _, _, child in list(self._started)):
                self._report(failed=self._explain(RuntimeError("a part of Ray ended")))
                os._exit(1)

    def _spawn(self, part: str, argv: list[str]) -> Popen[bytes]:
        child = spawn(argv, os.environ, Path.cwd())
        self._started.append((part, argv, child))
        self._report(part=part, argv=argv, pid=child.pid)
        return child

    def _report(self, **fields: Any) -> None:
        os.write(self._out, json.dumps(fields).encode() + b"\n")

    def _explain(self, error: Exception) -> str:
        """What went wrong: if a part ended, its last lines."""
        for part, argv, child in self._started:
            if child.poll() is not None:
                return f"Ray's {part} ended with exit code {child.returncode}: {last_words(argv)}"
        return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"

    def _head_class(self) -> Any:
        starter = self

        class Head(Member):
            def start_gcs_server(self) -> None:
                """And wait until it listens: Ray's client waits a whole second after a try that was too early."""
                super().start_gcs_server()
                _wait_for(self._node_ip_address, self._ray_params.gcs_server_port, starter._started[-1][2])

            def start_api_server(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
                """Start the dashboard without waiting for it, and say at once where it will be."""
                self._webui_url = f"{self._node_ip_address}:{self._ray_params.dashboard_port}"
                namespace = ray_constants.KV_NAMESPACE_DASHBOARD
                self.get_gcs_client().internal_kv_put(b"webui:url", self._webui_url.encode(), True, namespace)
                starter._spawn(DASHBOARD, _dashboard_argv(self))

        return Head


def _wait_for(address: str, port: int, server: Popen[bytes]) -> None:
    while server.poll() is None:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.02)


def _parameters(plan: LaunchPlan) -> Any:
    ports = plan.ports
    accelerator = plan.accelerator
    return RayParams(
        node_ip_address=plan.address,
        gcs_server_port=ports["gcs"] if plan.gcs_address is None else None,
        gcs_address=plan.gcs_address,
        temp_dir=plan.ray_directory,
        dashboard_host=plan.address,
        dashboard_port=ports["dashboard"],
        include_dashboard=True,
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
        memory=plan.memory,
        object_store_memory=plan.object_store_memory,
        resources=plan.resources | ({f"accelerator_type:{accelerator}": 1.0} if accelerator else {}),
        labels={"ray.io/accelerator-type": accelerator} if accelerator else {},
        node_name=plan.node_name,
        object_manager_port=ports["object-manager"],
        node_manager_port=ports["node-manager"],
        dashboard_agent_listen_port=ports["agent-http"],
        metrics_agent_port=ports["agent-grpc"],
        runtime_env_agent_port=ports["runtime-env-agent"],
        metrics_export_port=ports["metrics"],
        # Workers take any free port, as our own replicas do: a block would run out where many of them live.
        min_worker_port=0,
        max_worker_port=0,
        include_log_monitor=False,
        no_monitor=True,
    )


def _dashboard_argv(node: Any) -> list[str]:
    out, err = node.get_log_file_names("dashboard", unique=True, create_out=True, create_err=True)
    return [
        sys.executable,
        str(Path(ray.__file__).parent / "dashboard" / "dashboard.py"),
        f"--host={node._node_ip_address}",
        f"--port={node._ray_params.dashboard_port}",
        "--port-retries=0",
        f"--temp-dir={node.temp_dir}",
        f"--log-dir={node._logs_dir}",
        f"--session-dir={node._session_dir}",
        f"--logging-rotate-bytes={node.max_bytes}",
        f"--logging-rotate-backup-count={node.backup_count}",
        f"--gcs-address={node.gcs_address}",
        f"--cluster-id-hex={node.cluster_id.hex()}",
        f"--node-ip-address={node.node_ip_address}",
        f"--stdout-filepath={out}",
        f"--stderr-filepath={err}",
        f"--modules-to-load={_DASHBOARD_MODULES}",
    ]


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"Ray did not come up within {LIMIT_SECONDS} s")


def main() -> int:
    out = os.dup(1)
    os.dup2(2, 1)  # what Ray prints goes to the job's output
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(LIMIT_SECONDS)
    text = sys.stdin.readline()
    return 0 if text and Starter(LaunchPlan(**json.loads(text)), out).run() else 1


if __name__ == "__main__":
    sys.exit(main())
