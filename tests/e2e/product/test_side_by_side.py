"""Two clusters, a Ray of somebody else, and somebody else's Serve application on a cluster of ours: nobody disturbs another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from matrix_operator.backends.local.ports import is_free
from tests.e2e.foreign_ray import ForeignApplication, ForeignRay
from tests.e2e.product.inside import Inside, Objects, Traffic, ask
from tests.e2e.product.product import Product, cluster, dummy, until

pytestmark = pytest.mark.timeout(900)

SERVE = "/api/serve/applications/"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """Clusters left and right, each with a model."""
    with Product() as product:
        product.apply(cluster("left"), dummy("l", "left"), cluster("right"), dummy("r", "right", engine={"dummy": {"tokensPerSecond": 20}}))
        yield product


@pytest.fixture(scope="module")
def foreign_ray(product: Product) -> Iterator[ForeignRay]:
    """Starts while the clusters do."""
    directory = Path(f"/tmp/their-ray-{os.getpid()}")
    directory.mkdir()
    ray = None
    try:
        ray = ForeignRay(directory)
        yield ray
    finally:
        if ray is not None:
            ray.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def their_url(foreign_ray: ForeignRay, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the application on the foreign Ray answers, through Serve's own proxy."""
    application = ForeignApplication(tmp_path_factory.mktemp("app"), "theirs", "/")
    port = next(port for port in range(28100, 28200) if is_free(port))
    options = {"host": "127.0.0.1", "port": port}
    config = {"proxy_location": "HeadOnly", "http_options": options, "applications": [application.entry]}
    until(lambda: ask(foreign_ray.dashboard_url + SERVE, body=config, method="PUT") is not None, 60, "their Serve takes it")
    url = f"http://127.0.0.1:{port}/"
    until(lambda: ask(url) is not None, 60, "their application answers")
    return url


def processes(inside: Inside) -> dict[str, list[int]]:
    replicas = {"replicas": inside.titled("ray::ServeReplica"), "serve": inside.titled("ray::ServeController")}
    return inside.parts() | replicas


def test_taking_one_down_leaves_the_others_untouched(product: Product, foreign_ray: ForeignRay, their_url: str) -> None:
    for reference in ("mxd/l", "mxd/r", "mxc/left", "mxc/right"):
        product.wait(reference)
    left, right = Inside(product, "left"), Inside(product, "right")
    before, theirs = processes(right), ask(their_url)
    assert all(len(pids) == 1 for part, pids in before.items() if part != "replicas")
    assert len(before["replicas"]) == 3, "directory, gateway, model"
    for model in ("l", "r"):
        assert product.matrix("chat", model, "hello").strip()

    with Traffic(product.home, "r") as traffic:
        until(lambda: traffic.pieces > 3, 60, "the right one answers")
        product.matrix("down", "mxd/l", "mxc/left")
        assert product.processes(left.uid) == []
        pieces = traffic.pieces
        until(lambda: traffic.pieces > pieces + 20, 60, "the right one goes on")
    assert traffic.errors == [] and traffic.longest_silence < 2
    assert processes(right) == before
    assert foreign_ray.main_pids() == foreign_ray.started and ask(their_url) == theirs
    with Objects(product.home) as objects:
        assert objects.is_ready("MatrixCluster", "right") and objects.is_ready("ModelDeployment", "r")
        assert objects.find("MatrixCluster", "left") is None


def test_a_foreign_serve_application_on_our_ray_stays_as_it_is(product: Product, tmp_path: Path) -> None:
    product.wait("mxd/r")
    product.wait("mxc/right")
    inside, application = Inside(product, "right"), ForeignApplication(tmp_path, "theirs", None)
    ours = [app["deployed_app_config"] for app in inside.call(SERVE)["applications"].values()]
    config = {"proxy_location": "Disabled", "applications": [*ours, application.entry]}
    assert inside.call(SERVE, config, "PUT") is not None
    until(lambda: inside.applications().get("theirs") == "RUNNING", 60, "theirs runs")
    (pid,) = application.pids()
    deployed = entry(inside, "theirs")

    model = {"engine": {"dummy": {"tokensPerSecond": 20}}}
    for change in (dummy("r", "right", replicas=2, **model), dummy("r", "right", **model), dummy("another", "right")):
        product.apply(change)
        name = change["metadata"]["name"]
        product.wait(f"mxd/{name}")
        until(lambda: inside.applications().get(f"mx-md-{name}") == "RUNNING", 60, f"{name} runs")  # noqa: B023
        assert inside.applications().get("theirs") == "RUNNING" and entry(inside, "theirs") == deployed
    product.matrix("down", "mxd/another")
    until(lambda: "mx-md-another" not in inside.applications(), 60, "the model is gone")

    assert inside.applications() == {"mx-system": "RUNNING", "mx-md-r": "RUNNING", "theirs": "RUNNING"}
    assert entry(inside, "theirs") == deployed
    assert application.pids() == [pid] and psutil.pid_exists(pid), "never started anew"


def entry(inside: Inside, name: str) -> Any:
    return inside.call(SERVE)["applications"][name]["deployed_app_config"]
