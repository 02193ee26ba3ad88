"""A process that runs a node and is killed takes everything of it along."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock, Timeout

from tests.lab.api import Api, wait_for
from tests.lab.errors import NodeMissing
from tests.lab.node import addresses, needs, settings
from tests.lab.node.space import LOCK
from tests.lab.provision import LabNode, Provisioner

ROOT = Path(__file__).parents[4]
SECONDS = 120.0
POD = {
    "metadata": {"name": "sleeper"},
    "spec": {"containers": [{"name": "only", "image": settings.PAUSE_IMAGE}], "automountServiceAccountToken": True},
}


@pytest.fixture(autouse=True)
def _free(provisioner: Provisioner) -> None:
    if not isinstance(provisioner, LabNode):
        pytest.skip("a node is started with --cluster=lab-node only")
    try:
        needs.require()
        FileLock(LOCK).acquire(timeout=0).lock.release()
    except NodeMissing as error:
        pytest.skip(str(error))
    except Timeout:
        pytest.skip("another node runs on this machine, and there is one at a time")


def processes_of(directory: Path) -> list[str]:
    """The command lines of all that have to do with that directory, in its namespaces or not."""
    return [line for process in psutil.process_iter() if str(directory) in (line := _command(process))]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def interfaces() -> list[str]:
    done = subprocess.run([needs.program("ip"), "-json", "link"], capture_output=True, text=True, check=True)
    return [link["ifname"] for link in json.loads(done.stdout)]


def host() -> dict[str, str]:
    """What a node might change on a machine."""
    rules = subprocess.run([needs.program("nft"), "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mounts").read_text()
    settings = {path: Path(path).read_text() for path in ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/all/route_localnet")}
    places = {path: str(Path(path).exists()) for path in ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/containers")}
    return {"rules": rules, "mounts": mounts, **settings, **places}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_node(tmp_path: Path, number: signal.Signals) -> None:
    before, directory = host(), tmp_path / "lab"
    process = subprocess.Popen([sys.executable, "-m", "tests.lab", "--node", str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        kubeconfig = process.stdout.readline().strip()
        api = Api.of_kubeconfig(Path(kubeconfig))
        api.create("/api/v1/namespaces/default/pods", POD)
        path = "/api/v1/namespaces/default/pods/sleeper"
        wait_for(lambda: api.get(path)["status"]["phase"] == "Running", "the pod runs", SECONDS)
        api.close()
        assert host() == before, "a node changes nothing on the machine while it runs"
        assert addresses.INTERFACE in interfaces()
    finally:
        process.send_signal(number)
        process.wait(SECONDS)
    wait_for(lambda: not processes_of(directory), "all its processes are gone", SECONDS)
    wait_for(lambda: addresses.INTERFACE not in interfaces(), "the link is gone", SECONDS)
    assert host() == before
    assert directory.exists() == (number == signal.SIGKILL)
