"""Starts a head node and returns: ray_launch.py DIRECTORY GCS_PORT DASHBOARD_PORT. Its processes go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.node import Node
from ray._private.parameter import RayParams

MODULES = "ServeHead,JobHead,NodeHead,StateHead,ReportHead,UsageStatsHead"


class Head(Node):  # type: ignore[misc]
    """Does not wait for the dashboard."""

    def start_api_server(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
        out, err = self.get_log_file_names("dashboard", unique=True, create_out=True, create_err=True)
        port = self._ray_params.dashboard_port
        command = [
            *(sys.executable, str(Path(ray.__file__).parent / "dashboard" / "dashboard.py"), "--host=127.0.0.1", f"--port={port}"),
            *("--port-retries=0", f"--temp-dir={self.temp_dir}", f"--log-dir={self._logs_dir}", f"--session-dir={self._session_dir}"),
            *("--logging-rotate-bytes=536870912", "--logging-rotate-backup-count=5", f"--gcs-address={self.gcs_address}"),
            *(f"--cluster-id-hex={self.cluster_id.hex()}", f"--node-ip-address={self._node_ip_address}"),
            *(f"--stdout-filepath={out}", f"--stderr-filepath={err}", f"--modules-to-load={MODULES}"),
        ]
        quiet = subprocess.DEVNULL
        subprocess.Popen(command, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
        self._webui_url = f"127.0.0.1:{port}"
        self.get_gcs_client().internal_kv_put(b"webui:url", self._webui_url.encode(), True, ray_constants.KV_NAMESPACE_DASHBOARD)


if __name__ == "__main__":
    directory, gcs_port, dashboard_port = sys.argv[1:]
    parameters = RayParams(
        node_ip_address="127.0.0.1",
        gcs_server_port=int(gcs_port),
        temp_dir=directory,
        dashboard_host="127.0.0.1",
        dashboard_port=int(dashboard_port),
        num_cpus=4,
        min_worker_port=0,
        max_worker_port=0,
        include_log_monitor=False,
        object_store_memory=100_000_000,
        no_monitor=True,
        include_dashboard=True,
    )
    Head(parameters, head=True, shutdown_at_exit=False, spawn_reaper=False)
