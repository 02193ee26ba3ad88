"""Live edits, rolling changes and scaling on a real Ray Serve, with the entries that the control plane renders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from matrix_crds.base import ObjectMeta
from matrix_crds.deployment import DeploymentAllocation, ModelDeployment
from matrix_operator.backends.port import RuntimeLayout
from matrix_operator.ray_rest import ServeApplication, ServeDetails
from matrix_operator.reconcile.start_failures import remembered
from matrix_operator.serve_config import Entry, model_entry, version_of
from matrix_proto.state import FailureReason, ReplicaState, ReplicaView
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, RayCluster, eventually, model_cache

pytestmark = pytest.mark.timeout(900)  # a start of Ray's parts, on a machine that may be busy

NAME = "r"
CLIENT = {"Authorization": f"Bearer {CLIENT_TOKEN}"}
ENDLESS = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 2000, "ignore_eos": True}
BASE = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "resources": {"cpu": "100m", "memory": "64Mi"}, "drainSeconds": 5}


def layout(cluster: RayCluster) -> RuntimeLayout:
    return RuntimeLayout(
        state_port=cluster.state_port,
        state_url=cluster.state_url,
        directory_port=cluster.directory_port,
        gateway_port=cluster.gateway_port,
        bind_host="127.0.0.1",
        secrets_dir=str(cluster.secrets),
        model_cache_dir=str(model_cache()),
    )


def declared(attempt: int = 1, **spec: Any) -> ModelDeployment:
    item = ModelDeployment(metadata=ObjectMeta(name=NAME), spec=BASE | spec)  # type: ignore[arg-type]
    return item.model_copy(update={"status": item.status.model_copy(update={"allocation": DeploymentAllocation(attempt=attempt)})})


class Rolled:
    """One deployment on the cluster."""

    def __init__(self, cluster: RayCluster) -> None:
        self.cluster = cluster
        self.layout = layout(cluster)

    def put(self, item: ModelDeployment) -> Entry:
        entry = model_entry(item, self.layout)
        # The tests' Ray has as many CPUs as the machine; the replicas are light.
        entry["deployments"][0]["ray_actor_options"] = {"num_cpus": 0}
        self.cluster.put(entry)
        return entry

    def ready(self) -> list[ReplicaView]:
        return [one for one in self.cluster.replicas(NAME) if one.state is ReplicaState.READY and not one.suspect]

    def until(self, holds: Callable[[list[ReplicaView]], bool], what: str, seconds: float = 240) -> list[ReplicaView]:
        return eventually(lambda: (seen := self.ready()) and holds(seen) and seen, seconds, what) or []


@pytest.fixture
def rolled(cluster: RayCluster) -> Iterator[Rolled]:
    yield Rolled(cluster)
    cluster.remove(f"mx-md-{NAME}")
    eventually(lambda: f"mx-md-{NAME}" not in (cluster.serve_status() or {})["applications"], 60, "the model is gone")


def test_serves_message_of_a_failed_start_holds_what_the_directory_may_forget(rolled: Rolled) -> None:
    item = declared(engine={"vllm": {}}, model={"source": "file:///no/such/model"})
    rolled.put(item)

    def gave_up() -> ServeApplication | None:
        details = ServeDetails.model_validate(rolled.cluster.serve_status())
        application = details.applications[f"mx-md-{NAME}"]
        return application if application.status == "DEPLOY_FAILED" else None

    failure = remembered(eventually(gave_up, 180, "Serve gives up"))
    assert failure is not None
    assert failure.reason is FailureReason.MODEL_NOT_FOUND and "/no/such/model" in failure.message


LIVE: tuple[dict[str, Any], ...] = (
    {"replicas": 2},
    {"drainSeconds": 7},
    {"rollout": {"surgePercent": 100}},
    {"routing": {"policy": "Prefix"}},
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_live_edits_have_the_code_version_of_before_by_rays_own_account(rolled: Rolled) -> None:
    from ray.serve._private.deploy_utils import get_app_code_version
    from ray.serve.schema import ServeApplicationSchema

    def code(item: ModelDeployment) -> str:
        return str(get_app_code_version(ServeApplicationSchema.model_validate(model_entry(item, rolled.layout))))

    assert {code(declared(**edit)) for edit in LIVE} | {code(declared(attempt=2))} == {code(declared())}
    assert code(declared(rollout={"restartedAt": "2026-06-01T11:30:00Z"})) != code(declared())


def test_live_edits_restart_nothing(rolled: Rolled) -> None:
    rolled.put(declared())
    [first] = rolled.until(lambda seen: len(seen) == 1, "a replica is ready")
    assert first.version == version_of(declared(), rolled.layout)
    rolled.put(declared(attempt=2, replicas=2, drainSeconds=7, rollout={"surgePercent": 100}))
    seen = rolled.until(lambda seen: len(seen) == 2 and all(one.attempt == 2 for one in seen), "a second replica and the new attempt")
    assert {one.id: one.pid for one in seen}[first.id] == first.pid


def test_scaling_down_drains_and_the_one_that_leaves_is_soon_forgotten(rolled: Rolled) -> None:
    rolled.put(declared(replicas=2))
    both = rolled.until(lambda seen: len(seen) == 2, "two replicas are ready")
    with ExitStack() as streams:
        for one in both:  # else it has drained before anybody looks
            streams.enter_context(httpx2.stream("POST", f"{one.http_url}/v1/chat/completions", json=ENDLESS, headers=CLIENT, timeout=60))
        rolled.put(declared(replicas=1))
        draining = rolled.cluster.replica(NAME, 60, lambda one: one.state is ReplicaState.DRAINING, "one drains")
        assert len(rolled.ready()) == 1
    eventually(lambda: all(one.id != draining.id for one in rolled.cluster.replicas(NAME)), 20, "it is forgotten")
    assert len(rolled.ready()) == 1


@pytest.mark.parametrize(("surge", "lowest"), [(0, 1), (100, 2)])
def test_a_rolling_change_replaces_all_replicas_and_tells_how_far_it_is(rolled: Rolled, surge: int, lowest: int) -> None:
    """Without surge one of two replicas is always there; with it both are."""
    before = declared(replicas=2, rollout={"surgePercent": surge})
    after = declared(replicas=2, rollout={"surgePercent": surge, "restartedAt": "2026-06-01T11:30:00Z"})
    rolled.put(before)
    old = rolled.until(lambda seen: len(seen) == 2, "two replicas are ready")
    wanted = version_of(after, rolled.layout)
    assert wanted != old[0].version
    started = time.monotonic()
    rolled.put(after)
    seen: list[tuple[int, int]] = []

    def finished() -> bool:
        now = rolled.ready()
        seen.append((len(now), sum(one.version == wanted for one in now)))
        return seen[-1] == (2, 2)

    eventually(finished, 180, "both replicas run the new version")
    print(f"surge {surge}: rolled in {time.monotonic() - started:.1f} s; (ready, updated) went {sorted(set(seen), key=seen.index)}")
    assert min(ready for ready, _ in seen) >= lowest
    assert any(0 < updated < ready for ready, updated in seen), "some of them beside those of before"
    assert not {one.pid for one in rolled.ready()} & {one.pid for one in old}
