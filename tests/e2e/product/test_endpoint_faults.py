"""A crowd of 32 streams while a part of the cluster is killed or changed: what had not begun is answered, what had begun ends clearly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import httpx2
import psutil
import pytest

from matrix_client import Matrix
from matrix_client.errors import RequestError
from tests.e2e.product.crowd import Crowd
from tests.e2e.product.inside import Inside
from tests.e2e.product.product import Product, cluster, dummy, until

pytestmark = pytest.mark.timeout(900)
MODEL = "pair"
Report = Callable[[str], None]


def model(**spec: object) -> dict[str, object]:
    engine = {"dummy": {"tokensPerSecond": 20}}
    return dummy(
        MODEL, "crowded", **{"replicas": 2, "engine": engine, "drainSeconds": 30, "resources": {"cpu": "500m", "memory": "512Mi"}, **spec}
    )


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    with Product() as product:
        product.apply(cluster("crowded"), model())
        product.wait(f"mxd/{MODEL}")
        product.wait("mxc/crowded")
        yield Inside(product, "crowded")


def crowd_of(inside: Inside, retries: int = 2) -> Crowd:
    address = inside.address()
    return Crowd(inside.product.home, MODEL, f"{address.public.gateway_url}/v1", address.client_token, retries=retries)


@pytest.fixture
def crowd(inside: Inside) -> Iterator[Crowd]:
    inside.product.wait(f"mxd/{MODEL}")
    with crowd_of(inside) as crowd:
        yield crowd


def tell(report: Report, what: str, crowd: Crowd) -> None:
    longest = max(one.seconds for one in crowd.answered)
    told = (
        f"{len(crowd.answered)} answered, {len(crowd.broken)} broken in mid-answer, {len(crowd.lost)} lost; longest answer {longest:.1f} s"
    )
    report(f"32 streams, {what}: {told}")
    print(*crowd.errors().items(), sep="\n")


def clear_and_retryable(crowd: Crowd) -> None:
    """Those that had begun know what happened; over HTTP a stream that breaks off is all that can be said."""
    for one in crowd.broken:
        if one.way == "gRPC":
            assert isinstance(one.error, RequestError) and one.error.retryable, one.error


def test_a_killed_replica_under_load(inside: Inside, crowd: Crowd, report: Report) -> None:
    before = inside.replica(MODEL)
    os.kill(before[0], signal.SIGKILL)
    crowd.go_on()
    until(lambda: len(inside.replica(MODEL)) == 2 and inside.replica(MODEL) != before, 60, "the replica is not replaced")
    inside.product.wait(f"mxd/{MODEL}")
    crowd.go_on()
    crowd.end()
    tell(report, "a replica killed", crowd)
    assert crowd.lost == []
    assert crowd.broken, "no stream was in flight on the killed replica: the test has tested nothing"
    clear_and_retryable(crowd)


def test_a_killed_engine_host_under_load(inside: Inside, crowd: Crowd, report: Report) -> None:
    parent = psutil.Process(inside.replica(MODEL)[0])
    host = next(child for child in parent.children() if "matrix_runtime.serving.host" in child.cmdline())
    host.kill()
    crowd.go_on()
    inside.product.wait(f"mxd/{MODEL}")
    crowd.end()
    tell(report, "an engine host killed", crowd)
    assert crowd.lost == []
    clear_and_retryable(crowd)


@pytest.mark.parametrize("part", ["directory", "gcs", "dashboard", "Serve controller"])
def test_a_killed_part_of_the_control_plane_is_not_noticed(inside: Inside, crowd: Crowd, report: Report, part: str) -> None:
    titles = {"directory": "ray::ServeReplica:mx-system:Directory", "Serve controller": "ray::ServeController"}
    pids = (lambda: inside.titled(titles[part])) if part in titles else (lambda: inside.pids(part))
    (before,) = pids()
    os.kill(before, signal.SIGKILL)
    until(lambda: pids() not in ([], [before]), 60, f"the {part} is not started again")
    inside.product.wait("mxc/crowded")
    crowd.go_on()
    crowd.end()
    tell(report, f"the {part} killed", crowd)
    assert crowd.lost == [] and crowd.broken == [], crowd.errors()


@pytest.mark.parametrize("part", ["haproxy", "gateway"])
def test_a_killed_gateway_comes_back_and_the_replicas_are_untouched(inside: Inside, report: Report, part: str) -> None:
    replicas = inside.replica(MODEL)
    with crowd_of(inside, retries=8) as crowd:
        pid = inside.titled("ray::ServeReplica:mx-system:Gateway")[0] if part == "gateway" else int(inside.state()["gateway"]["pid"])
        os.kill(pid, signal.SIGKILL)
        crowd.go_on()
        crowd.end()
    tell(report, f"the {part} killed", crowd)
    assert inside.replica(MODEL) == replicas
    assert crowd.lost == [], crowd.errors()
    assert {one.way for one in crowd.broken} <= {"gateway"}, crowd.errors()
    inside.product.wait("mxc/crowded")


def test_scaling_down_and_up_under_load_loses_nothing(inside: Inside, crowd: Crowd, report: Report) -> None:
    for replicas in (1, 2):
        inside.product.matrix("scale", f"mxd/{MODEL}", "--replicas", str(replicas))
        until(lambda count=replicas: len(inside.replica(MODEL)) == count, 90, f"there are not {replicas} replicas")  # type: ignore[misc]
        inside.product.wait(f"mxd/{MODEL}")
        crowd.go_on()
    crowd.end()
    tell(report, "scaled 2 -> 1 -> 2", crowd)
    assert crowd.lost == [] and crowd.broken == [], crowd.errors()


@pytest.mark.parametrize(("replicas", "surge"), [(2, 0), (1, 0), (1, 100)])
def test_a_rolling_change_under_load_loses_nothing(inside: Inside, report: Report, replicas: int, surge: int) -> None:
    spec = {"replicas": replicas, "rollout": {"surgePercent": surge}}
    inside.product.apply(model(**spec))
    inside.product.wait(f"mxd/{MODEL}")
    until(lambda: len(inside.replica(MODEL)) == replicas, 60, f"there are not {replicas} replicas")
    before = inside.replica(MODEL)
    with crowd_of(inside) as crowd:
        inside.product.apply(model(**spec, engine={"dummy": {"tokensPerSecond": 20, "seed": 100 + replicas + surge}}))
        until(lambda: not set(before) & set(inside.replica(MODEL)), 120, "the old replicas are still there")
        inside.product.wait(f"mxd/{MODEL}")
        crowd.go_on()
        crowd.end()
    tell(report, f"rolled, {replicas} replicas, surge {surge} %", crowd)
    assert crowd.lost == [] and crowd.broken == [], crowd.errors()


def test_a_change_of_the_served_name_loses_nothing_either(inside: Inside) -> None:
    """The former replicas don't know the new name: over HTTP it waits for one that does, and gRPC asks each for the name that it has."""
    product, address, spec = inside.product, inside.address(), {"replicas": 1, "rollout": {"surgePercent": 100}}
    product.apply(model(**spec))
    until(lambda: len(inside.replica(MODEL)) == 1, 60, "there is not one replica")
    product.wait(f"mxd/{MODEL}")
    before = inside.replica(MODEL)
    headers = {"Authorization": f"Bearer {address.client_token}"}
    question = {"model": "renamed", "messages": [{"role": "user", "content": "who are you?"}], "max_tokens": 2}
    with (
        httpx2.Client(base_url=f"{address.public.gateway_url}/v1", headers=headers, timeout=90, trust_env=False) as http,
        Matrix(home=product.home.root) as matrix,
    ):
        assert str(matrix.chat(MODEL, "who are you?", max_tokens=2)), "connected before the new replica is there"
        product.apply(model(**spec, model={"source": "file:///none", "servedName": "renamed"}))
        until(lambda: "renamed" in http.get("/models").text, 30, "the gateway does not know the name")
        assert str(matrix.chat(MODEL, "who are you?", max_tokens=2))
        assert set(before) <= set(inside.replica(MODEL)), "it was rolled out already: the test has tested nothing"
        answer = http.post("/chat/completions", json=question)
        assert answer.status_code == 200, answer.text
    product.wait(f"mxd/{MODEL}")


def test_a_killed_raylet_takes_all_down_and_the_questions_wait(inside: Inside, report: Report) -> None:
    inside.product.apply(model())
    inside.product.wait(f"mxd/{MODEL}")
    with crowd_of(inside, retries=20) as crowd:
        (raylet,) = inside.pids("raylet")
        os.kill(raylet, signal.SIGKILL)
        until(lambda: inside.pids("raylet") not in ([], [raylet]), 60, "the raylet is not started again")
        inside.product.wait(f"mxd/{MODEL}", timeout=120)
        crowd.go_on(seconds=120)
        crowd.end()
    tell(report, "the raylet killed", crowd)
    assert crowd.lost == [], crowd.errors()
    clear_and_retryable(crowd)
