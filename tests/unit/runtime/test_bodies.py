from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import ErrorReason
from matrix_runtime.engines.port import Piece, Usage, Vectors
from matrix_runtime.errors import ApiError
from matrix_runtime.serving.bodies import chat_body, chat_reply, complete_body, complete_reply, embed_body, embed_reply

HI = pb.Message(role="user", content="hi")
HI_BODY = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (pb.ChatRequest(model="m", messages=[HI]), {"model": "m", "messages": [HI_BODY], "stream": False}),
        (pb.ChatRequest(messages=[HI], stream=True), {"messages": [HI_BODY], "stream": True}),
        (
            pb.ChatRequest(messages=[HI], sampling=pb.Sampling(temperature=0, seed=0, presence_penalty=0)),
            {"messages": [HI_BODY], "temperature": 0, "seed": 0, "presence_penalty": 0, "stream": False},
        ),
        (
            pb.ChatRequest(messages=[HI], sampling=pb.Sampling(top_p=0.5, max_tokens=7, n=2, stop=["a", "b"], frequency_penalty=1)),
            {"messages": [HI_BODY], "top_p": 0.5, "max_tokens": 7, "n": 2, "stop": ["a", "b"], "frequency_penalty": 1, "stream": False},
        ),
        (
            pb.ChatRequest(messages=[pb.Message(role="assistant"), pb.Message(role="x", content="y", json=b'{"role":"tool","a":[1]}')]),
            {"messages": [{"role": "assistant"}, {"role": "tool", "a": [1]}], "stream": False},
        ),
        (pb.ChatRequest(messages=[pb.Message(role="user", content="")]), {"messages": [{"role": "user", "content": ""}], "stream": False}),
        (
            pb.ChatRequest(model="m", messages=[HI], sampling=pb.Sampling(seed=3), extra_json=b'{"tools": [], "seed": 3, "model": "m"}'),
            {"model": "m", "messages": [HI_BODY], "seed": 3, "tools": [], "stream": False},
        ),
    ],
)
def test_a_chat_request_becomes_openais(request_: pb.ChatRequest, body: dict[str, Any]) -> None:
    assert chat_body(pb.ChatRequest.FromString(request_.SerializeToString())) == body


def test_a_completion_and_an_embedding_take_other_forms_of_their_input_from_extra_json() -> None:
    assert complete_body(pb.CompleteRequest(model="m", prompt="x")) == {"model": "m", "prompt": "x", "stream": False}
    assert complete_body(pb.CompleteRequest(extra_json=b'{"prompt": [1, 2]}')) == {"prompt": [1, 2], "stream": False}
    assert embed_body(pb.EmbedRequest(model="m", input=["a", "b"])) == {"model": "m", "input": ["a", "b"]}
    assert embed_body(pb.EmbedRequest(extra_json=b'{"input": [[1]], "dimensions": 2}')) == {"input": [[1]], "dimensions": 2}


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (pb.ChatRequest(messages=[HI], extra_json=b"{"), "extra_json is not JSON"),
        (pb.ChatRequest(messages=[HI], extra_json=b"\xff"), "extra_json is not JSON"),
        (pb.ChatRequest(messages=[HI], extra_json=b"[" * 100_000), "extra_json is not JSON"),
        (pb.ChatRequest(messages=[HI], extra_json=b"[]"), "extra_json must be a JSON object"),
        (pb.ChatRequest(messages=[pb.Message(json=b"3")]), "messages[].json must be a JSON object"),
        (pb.ChatRequest(messages=[HI], sampling=pb.Sampling(seed=0), extra_json=b'{"seed": 1}'), "seed is set to one value"),
        (pb.ChatRequest(messages=[HI], extra_json=b'{"stream": true}'), "stream is set to one value"),
        (pb.ChatRequest(messages=[HI], extra_json=b'{"messages": []}'), "messages is set to one value"),
    ],
)
def test_what_contradicts_itself_is_the_callers_mistake(request_: pb.ChatRequest, word: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat_body(request_)
    assert caught.value.reason is ErrorReason.BAD_REQUEST and word in caught.value.message


def test_replies_carry_what_the_engine_wrote_and_the_typed_fields() -> None:
    piece = Piece(b'{"id": 1}', [(0, "a", None), (1, "", "stop")], Usage(2, 0))
    reply = chat_reply(piece)
    assert reply.json == b'{"id": 1}' and reply.usage.prompt_tokens == 2 and reply.HasField("usage")
    assert [(choice.index, choice.text) for choice in reply.choices] == [(0, "a"), (1, "")]
    assert not reply.choices[0].HasField("finish_reason") and reply.choices[1].finish_reason == "stop"
    assert not complete_reply(Piece(b"{}", (), None)).HasField("usage")
    embedded = embed_reply(Vectors(json.dumps({"object": "list"}).encode(), [[0.5, 1.0], [0.25, 0.0]], None))
    assert [(one.index, list(one.values)) for one in embedded.embeddings] == [(0, [0.5, 1.0]), (1, [0.25, 0.0])]
