"""Where things are found, and that the pure half of this package needs no Kubernetes library."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

from matrix_operator.backends import kuberay
from matrix_operator.backends.kuberay.layout import layout, public_address
from matrix_operator.backends.kuberay.names import client_token_secret
from matrix_operator.backends.kuberay.render import services
from matrix_operator.backends.kuberay.volumes import CREDENTIALS_DIRECTORY
from tests.unit.kuberay.builders import cluster

TALKING = {"complaints", "backend", "companions", "reach", "tokens", "watched"}
"""The modules that talk to an API server."""
MODULES = [f"{kuberay.__name__}.{module.name}" for module in pkgutil.iter_modules(kuberay.__path__) if module.name not in TALKING]


def test_the_layout_leads_to_our_service() -> None:
    of = cluster()
    [ours], found, address = services(of), layout(of), public_address(of)
    ports = {port["name"]: port["port"] for port in ours["spec"]["ports"]}
    assert ours["metadata"]["name"] == "lab-gateway"
    assert ports == {"http": found.gateway_port, "state": found.state_port, "directory": found.directory_port}
    assert ours["spec"]["publishNotReadyAddresses"] is True
    assert found.credentials_dir == CREDENTIALS_DIRECTORY
    assert address.state_url == found.state_url == f"http://lab-gateway.team.svc:{found.state_port}"
    assert address.directory_address == f"lab-gateway.team.svc:{found.directory_port}"
    assert address.gateway_url == f"http://lab-gateway.team.svc:{found.gateway_port}"
    assert address.dashboard_url == "http://lab-head-svc.team.svc:8265"


def test_the_status_of_a_cluster_names_the_secret_of_the_client_token() -> None:
    assert client_token_secret(cluster()) == "lab-client-token"


def test_no_pure_module_loads_a_kubernetes_library() -> None:
    code = f"import importlib, sys\nfor name in {MODULES!r}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert not {"lightkube", "kubernetes", "kopf", "ray"} & set(loaded)
