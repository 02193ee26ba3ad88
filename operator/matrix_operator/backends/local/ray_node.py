"""Ray's own way of starting a node, driven part by part. The only module that imports Ray; its private API is that of Ray 2.60.

`ray start` waits for each part in turn (17 s); here the dashboard comes up beside the raylet, and nothing is started that is not used:
no autoscaler, log monitor or client server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._private.parameter import RayParams

from matrix_operator.backends.local.journal import DASHBOARD, GCS, HEAD, RAYLET, ClusterRecord, NodePlan
from matrix_operator.backends.local.places import ray_directory
from matrix_operator.backends.local.ports import LOOPBACK

Spawn = Callable[[str, list[str]], "Popen[bytes]"]
"""Starts a part, given its name and its argv."""

_DASHBOARD_MODULES = "ServeHead,JobHead,NodeHead,StateHead,ReportHead,UsageStatsHead"


def start_node(cluster: ClusterRecord, node: NodePlan, spawn: Spawn) -> None:
    """Start the parts of a node and wait until its raylet is known to the GCS. Raises whatever Ray raises."""
    head = node.name == HEAD
    parts = {ray_constants.PROCESS_TYPE_GCS_SERVER: GCS, ray_constants.PROCESS_TYPE_RAYLET: RAYLET if head else node.name}

    def start_ray_process(command: list[str], process_type: str, **_: Any) -> Any:
        return services.ProcessInfo(spawn(parts[process_type], command), *[None] * 7)  # the rest tells of debuggers

    services.start_ray_process = start_ray_process
    kind = _head_class(spawn) if head else Node
    kind(_parameters(cluster, node, head), head=head, shutdown_at_exit=False, spawn_reaper=False)


def _parameters(cluster: ClusterRecord, node: NodePlan, head: bool) -> Any:
    template = node.template
    accelerator = template.accelerator
    return RayParams(
        node_ip_address=LOOPBACK,
        gcs_server_port=cluster.ports.gcs if head else None,
        gcs_address=None if head else f"{LOOPBACK}:{cluster.ports.gcs}",
        temp_dir=str(ray_directory(Path(cluster.directory))),
        dashboard_host=LOOPBACK,
        dashboard_port=cluster.ports.dashboard,
        include_dashboard=True,
        num_cpus=template.cpus,
        num_gpus=template.gpus,
        memory=template.memory,
        object_store_memory=node.object_store_memory,
        resources=template.resources | ({f"accelerator_type:{accelerator}": 1.0} if accelerator else {}),
        labels={"ray.io/accelerator-type": accelerator} if accelerator else {},
        node_name=node.name,
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,  # any free one: the default, 52365, may be another Ray's on this machine
        include_log_monitor=False,
        no_monitor=True,
    )


def _head_class(spawn: Spawn) -> Any:
    class Head(Node):  # type: ignore[misc]
        def start_api_server(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
            """Start the dashboard without waiting for it, and say at once where it will be."""
            self._webui_url = f"{LOOPBACK}:{self._ray_params.dashboard_port}"
            self.get_gcs_client().internal_kv_put(b"webui:url", self._webui_url.encode(), True, ray_constants.KV_NAMESPACE_DASHBOARD)
            spawn(DASHBOARD, _dashboard_argv(self))

    return Head


def _dashboard_argv(node: Any) -> list[str]:
    out, err = node.get_log_file_names("dashboard", unique=True, create_out=True, create_err=True)
    return [
        sys.executable,
        os.path.join(os.path.dirname(ray.__file__), "dashboard", "dashboard.py"),  # noqa: PTH118, PTH120
        f"--host={LOOPBACK}",
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
