"""The cluster's one endpoint as its users see it: `matrix env`, the openai package, two models, keys, and the SDK beside it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator

import httpx2
import openai
import pytest

from matrix_client import Matrix
from matrix_client.errors import NotReady
from tests.e2e.product.product import Product, cluster, dummy, until

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    with Product() as product:
        small = {"cpu": "500m", "memory": "256Mi"}
        engines = {name: {"dummy": {"tokensPerSecond": 500, "seed": seed}} for name, seed in (("first", 1), ("second", 2))}
        product.apply(cluster("lab"), *(dummy(name, "lab", engine=engine, resources=small) for name, engine in engines.items()))
        for name in engines:
            product.wait(f"mxd/{name}")
        product.wait("mxc/lab")
        yield product


def environment(product: Product) -> dict[str, str]:
    """What `eval "$(matrix env)"` sets."""
    lines = (shlex.split(line) for line in product.matrix("env").splitlines())
    return dict(word.split("=", 1) for words in lines for word in words if "=" in word)


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    found = environment(product)
    with openai.OpenAI(base_url=found["OPENAI_BASE_URL"], api_key=found["OPENAI_API_KEY"], max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, question: str = "Hello") -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], max_tokens=8)
    return answer.choices[0].message.content or ""


def test_two_models_behind_one_endpoint_are_chosen_by_name(product: Product, client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"first", "second"}
    answers = {model: ask(client, model) for model in ("first", "second")}
    assert answers["first"] != answers["second"] and all(answers.values())
    with Matrix(home=product.home.root) as matrix:
        for model, answer in answers.items():
            assert matrix.chat(model, "Hello", max_tokens=8).text == answer, "over gRPC it says the same"


def test_streams_say_the_same_as_whole_answers(product: Product, client: openai.OpenAI) -> None:
    whole = ask(client, "first")
    pieces = client.chat.completions.create(
        model="first", messages=[{"role": "user", "content": "Hello"}], max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(pieces)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8
    with Matrix(home=product.home.root) as matrix:
        assert "".join(piece.text for piece in matrix.chat("first", "Hello", max_tokens=8, stream=True)) == whole


def test_completions_and_embeddings(product: Product, client: openai.OpenAI) -> None:
    text = client.completions.create(model="first", prompt="Once", max_tokens=5).choices[0].text
    vector = client.embeddings.create(model="first", input="Once", encoding_format="float").data[0].embedding
    with Matrix(home=product.home.root) as matrix:
        assert matrix.complete("first", "Once", max_tokens=5).text == text
        (own,) = matrix.embed("first", "Once").vectors
    assert own == pytest.approx(vector, abs=1e-6) and any(vector)


@pytest.mark.parametrize(
    ("change", "error", "status"),
    [
        ({"api_key": "wrong"}, openai.AuthenticationError, 401),
        ({"model": "third"}, openai.NotFoundError, 404),
        ({"max_tokens": 0}, openai.BadRequestError, 400),
    ],
)
def test_refusals_have_openais_form(
    client: openai.OpenAI, change: dict[str, object], error: type[openai.APIStatusError], status: int
) -> None:
    asking = client.with_options(api_key=str(change.get("api_key", client.api_key)))
    with pytest.raises(error) as caught:
        asking.chat.completions.create(
            model=str(change.get("model", "first")),
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=int(str(change.get("max_tokens", 8))),
        )
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict) and caught.value.body["message"], "openai takes `error` out of the body"


def test_what_is_not_json_is_a_bad_request_in_openais_form(client: openai.OpenAI) -> None:
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
    answer = httpx2.post(f"{client.base_url}chat/completions", content=b"{nonsense", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_an_issued_key_opens_the_gateway_until_it_is_revoked(product: Product, client: openai.OpenAI) -> None:
    issued = json.loads(product.matrix("keys", "issue", "--name", "a script", "-o", "json"))
    theirs = client.with_options(api_key=issued["key"])

    def opens() -> bool:
        try:
            return bool(ask(theirs, "first"))
        except openai.AuthenticationError:
            return False

    until(opens, 30, "the issued key is not taken")
    assert "a script" in product.matrix("keys", "list") and issued["key"] not in product.matrix("keys", "list")
    product.matrix("keys", "revoke", issued["id"])
    until(lambda: not opens(), 30, "the revoked key still opens the gateway")


def test_a_limited_key_is_told_when_it_asks_too_often(product: Product, client: openai.OpenAI) -> None:
    issued = json.loads(product.matrix("keys", "issue", "--requests-per-minute", "3", "-o", "json"))
    theirs = client.with_options(api_key=issued["key"])
    deadline = time.monotonic() + 30
    limited: openai.RateLimitError | None = None
    while limited is None and time.monotonic() < deadline:
        try:
            ask(theirs, "first")
        except openai.RateLimitError as error:
            limited = error
        except openai.AuthenticationError:
            time.sleep(0.2)  # the gateway has not read the new key yet
    assert limited is not None and int(limited.response.headers["retry-after"]) > 0


def test_a_model_scaled_to_zero_says_so_and_comes_back(product: Product, client: openai.OpenAI) -> None:
    product.matrix("scale", "mxd/second", "--replicas", "0")
    until(lambda: not product.get("mxd/second")["status"].get("readyReplicas"), 60, "it is not scaled to zero")

    def refusal() -> str:
        try:
            return f"answered: {ask(client, 'second')}"
        except openai.APIStatusError as error:
            return f"{error.status_code}: {error.message}"

    until(lambda: refusal().startswith("503") and "zero" in refusal(), 20, refusal)
    with Matrix(home=product.home.root) as matrix, pytest.raises(NotReady, match="scaled to zero"):
        matrix.chat("second", "Hello", timeout=30)
    assert ask(client, "first"), "its neighbour serves on"
    product.matrix("scale", "mxd/second", "--replicas", "1")
    product.wait("mxd/second")
    assert ask(client, "second")


def test_a_request_for_a_model_that_is_starting_waits_for_it(product: Product, client: openai.OpenAI) -> None:
    product.matrix("scale", "mxd/second", "--replicas", "0")  # makes room: the cluster has two CPUs
    product.apply(dummy("third", "lab", engine={"dummy": {"tokensPerSecond": 500}}, resources={"cpu": "500m", "memory": "256Mi"}))
    until(lambda: "third" in {model.id for model in client.models.list()}, 30, "the gateway does not know the declared model")
    assert ask(client, "third"), "held until the first replica was up"
    product.matrix("down", "mxd/third")
    until(lambda: "third" not in {model.id for model in client.models.list()}, 30, "the gateway still lists it")
    product.matrix("scale", "mxd/second", "--replicas", "1")
    product.wait("mxd/second")


def test_metrics_by_model(product: Product, client: openai.OpenAI) -> None:
    ask(client, "first")
    answer = httpx2.get(str(client.base_url).replace("/v1/", "/metrics"), headers={"Authorization": f"Bearer {client.api_key}"})
    lines = [line for line in answer.text.splitlines() if line.startswith("matrix_gateway_requests_total") and 'model="first"' in line]
    assert lines and sum(float(line.rsplit(" ", 1)[1]) for line in lines) > 0
