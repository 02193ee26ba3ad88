"""What can't be carried out: a reason and what to do at once, one line from `matrix up`, and nothing else is touched.

First what is refused before anything starts; then, on one small cluster, what Ray Serve refuses, what no longer parses, taken ports.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from matrix_operator.backends.local.journal import Journal
from matrix_store.database import Database
from matrix_store.port import Raw, StoredObject
from tests.e2e.product.dashboard_proxy import DashboardProxy
from tests.e2e.product.product import Product, cluster, dummy, until

SECONDS = 45.0
"""It takes two or three, and far longer on a machine that has other things to do. Who waits for what can't come does so for minutes."""
REFUSED_SECONDS = 7
"""The odd deployment's drainSeconds for which Ray refuses its entry."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    with Product() as product:
        yield product


def cpus() -> int:
    return len(os.sched_getaffinity(0))


def head(cpu: int = 1, memory: str = "2Gi") -> dict[str, Any]:
    return {"resources": {"cpu": cpu, "memory": memory}}


@pytest.mark.parametrize(
    ("spec", "reason", "told"),
    [
        (
            {"head": head(cpu=1000)},
            "InsufficientResources",
            f"the nodes want 1000 CPUs, this machine has {cpus()}; lower spec.head.resources.cpu or the workers' cpu or replicas",
        ),
        ({"head": head(memory="90Ti")}, "InsufficientResources", "the nodes to start want 92160.0 GiB of memory, "),
        ({"head": head(), "ray": {"version": "2.59.0"}}, "RayVersionMismatch", "spec.ray.version is 2.59.0, but Ray 2.60.0 is installed; "),
        (
            {"head": head(), "backend": {"kubernetes": {}}},
            "InvalidSpec",
            "the standalone engine runs backends local, slurm; set spec.backend to one of them, or leave it out",
        ),
    ],
    ids=["cpus", "memory", "ray-version", "backend"],
)
def test_a_cluster_that_this_machine_can_not_carry(
    product: Product, spec: dict[str, Any], reason: str, told: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    began = time.monotonic()
    done = product.up(cluster(name, **spec))
    seconds = time.monotonic() - began
    assert done.returncode == 1 and seconds < SECONDS, (seconds, done)
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: MatrixCluster/{name} is not ready ({reason}): {told}"), done.stderr
    assert "Traceback" not in done.stderr and not product.processes()
    why = product.run("why", f"mxc/{name}")
    assert why.returncode == 1 and f"({reason})" in why.stdout and "→" in why.stdout
    product.matrix("down", f"mxc/{name}")


@pytest.fixture(scope="module")
def lab(product: Product) -> str:
    """A cluster that could not be had at first: the fixed manifest brings it up, and nothing of the mistake is left."""
    assert product.up(cluster("lab", head=head(cpu=1000))).returncode == 1
    done = product.up(cluster("lab"))
    assert done.returncode == 0, done.stderr
    assert product.condition("mxc/lab", "UpToDate")["status"] == "True"
    return "lab"


@pytest.fixture
def proxy(product: Product, lab: str) -> Iterator[DashboardProxy]:
    """Between the controller and the dashboard, whose port it reads from the cluster's record at every look."""
    journal = Journal(product.home, product.get(f"mxc/{lab}")["metadata"]["uid"])
    record = journal.cluster()
    assert record is not None
    with DashboardProxy(record.ports.dashboard) as proxy:
        journal.put(record.model_copy(update={"ports": record.ports.model_copy(update={"dashboard": proxy.port})}))
        yield proxy
        journal.put(record)


def spoil(body: bytes) -> bytes:
    """A mistake that our copy of Serve's schema does not know, in the entry of one deployment."""
    config = json.loads(body) if body else {}
    for entry in config.get("applications", ()):
        for deployment in entry.get("deployments", ()) if entry["name"] == "mx-md-odd" else ():
            if deployment["user_config"]["drainSeconds"] == REFUSED_SECONDS:
                deployment["ray_actor_options"]["label_selector"] = {"no label!": "x"}
    return json.dumps(config).encode() if config else body


def replica(product: Product, name: str) -> tuple[int, float]:
    process = product.process(f"ServeReplica:mx-md-{name}:")
    return process.pid, process.create_time()


def test_an_entry_that_ray_serve_refuses_does_not_hold_up_the_others(product: Product, lab: str, proxy: DashboardProxy) -> None:
    proxy.on_the_way = spoil
    product.apply(dummy("odd", lab, drainSeconds=REFUSED_SECONDS), dummy("good", lab))
    product.wait("mxd/odd", "False", "RejectedByServe")
    product.wait("mxd/good")
    product.wait("mxc/lab")
    message = product.condition("mxd/odd")["message"]
    assert message.startswith("Ray Serve refused the configuration: ") and "label_selector" in message
    good = replica(product, "good")

    product.apply(dummy("odd", lab))
    product.wait("mxd/odd")
    odd = replica(product, "odd")

    product.apply(dummy("odd", lab, drainSeconds=REFUSED_SECONDS))  # the one that was accepted before serves on
    product.wait("mxd/odd", "False", "RejectedByServe", timeout=60, type_="UpToDate")
    assert product.matrix("chat", "odd", "hello").strip() and product.matrix("chat", "good", "hello").strip()
    assert (replica(product, "good"), replica(product, "odd")) == (good, odd)
    product.matrix("down", "mxd/odd")


def test_an_object_that_no_longer_parses_is_told_and_what_runs_of_it_goes_on(product: Product, lab: str) -> None:
    """As if another release had written it."""
    product.apply(dummy("good", lab))
    product.wait("mxd/good")
    before = replica(product, "good")
    with closing(Database(product.home.database, validator=lambda: _anything)) as database:
        raw = database.objects.list("ModelDeployment")[0].raw
        database.objects.apply_all([{**raw, "spec": {**raw["spec"], "engine": {"warp": {}}}}])
    product.wait("mxd/good", "False", "InvalidSpec", timeout=SECONDS)
    assert "spec.engine.warp" in product.condition("mxd/good")["message"]
    product.apply(cluster(lab, deletionPolicy="Delete"), dummy("late", lab))  # others go on
    product.wait("mxd/late")
    assert replica(product, "good") == before and product.matrix("chat", "good", "hello").strip()
    for command in (("describe", "mxd/good"), ("get", "mxd"), ("get", "mxd/good", "-o", "yaml")):
        assert "InvalidSpec" in product.matrix(*command) or "warp" in product.matrix(*command)
    why = product.run("why", "mxd/good")
    assert why.returncode == 1 and "(InvalidSpec)" in why.stdout and "Traceback" not in why.stderr

    product.apply(dummy("good", lab))
    product.wait("mxd/good")
    assert replica(product, "good") == before
    product.matrix("down", "mxd/late")


def _anything(raw: Raw, stored: StoredObject | None) -> Raw:
    """What validates nothing."""
    return raw


def test_a_taken_port_is_named_with_its_holder_and_waited_for(product: Product, lab: str) -> None:
    """The ports of a cluster are the same for its life: while it was suspended another program took one."""
    product.apply(cluster(lab, suspend=True))
    product.wait(f"mxc/{lab}", "False", "Suspended", timeout=60)
    until(lambda: not product.processes(), 60, "processes are left of a suspended cluster")
    record = Journal(product.home, product.get(f"mxc/{lab}")["metadata"]["uid"]).cluster()
    assert record is not None
    with closing(socket.create_server(("127.0.0.1", record.ports.dashboard))) as holder:
        began = time.monotonic()
        done = product.up(cluster(lab))
        seconds = time.monotonic() - began
        error = done.stderr.splitlines()[-1]
        assert done.returncode == 1 and seconds < SECONDS, (seconds, done)
        port = holder.getsockname()[1]
        assert error.startswith(
            f"error: MatrixCluster/{lab} is not ready (PortTaken): port {port}, which this cluster uses for its dashboard"
        )
        assert f"is held by pid {os.getpid()} (" in error and error.endswith("; end that, or delete the cluster and apply it again")
        assert not product.processes()
    print(f"\nup again {product.wait(f'mxc/{lab}'):.0f} s after the port was free")
    product.wait("mxd/good")
