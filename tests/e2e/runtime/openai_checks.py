"""What the openai package must be able to do with a replica, whatever its engine. Each is a test of the engines' own test modules."""

from __future__ import annotations

import json
from collections.abc import Callable

import openai
import pytest

Check = Callable[[openai.OpenAI, str], None]
ASK = [{"role": "user", "content": "Tell me about the fox."}]


def _chat(client: openai.OpenAI, model: str, **more: object) -> openai.types.chat.ChatCompletion:
    answer = client.chat.completions.create(model=model, messages=ASK, **({"max_tokens": 6} | more))  # type: ignore[call-overload]
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    return answer


def an_answer_has_text_and_usage(client: openai.OpenAI, model: str) -> None:
    answer = _chat(client, model, temperature=0)
    assert answer.model == model and answer.object == "chat.completion"
    assert answer.choices[0].message.content and answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 6 and answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 6


def a_stream_adds_up_and_ends_with_usage(client: openai.OpenAI, model: str) -> None:
    whole = _chat(client, model, temperature=0, seed=0)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=ASK, max_tokens=6, temperature=0, seed=0, stream=True, stream_options={"include_usage": True}
        )  # type: ignore[call-overload]
    )
    assert len(chunks) > 6 and chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 6


def n_gives_so_many_answers(client: openai.OpenAI, model: str) -> None:
    answer = _chat(client, model, n=3, temperature=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None and answer.usage.completion_tokens == 18


def the_same_seed_gives_the_same_text(client: openai.OpenAI, model: str) -> None:
    texts = {_chat(client, model, seed=7, temperature=1).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1


def an_answer_ends_before_a_stop_text(client: openai.OpenAI, model: str) -> None:
    text = client.completions.create(model=model, prompt="one two three", max_tokens=8, temperature=0, seed=0).choices[0].text
    stop = text.split()[2]
    cut = client.completions.create(model=model, prompt="one two three", max_tokens=8, temperature=0, seed=0, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop" and text.startswith(cut.text) and stop not in cut.text


def a_list_of_prompts_gives_an_answer_each(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=["one", "two"], max_tokens=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def an_answer_follows_a_json_schema(client: openai.OpenAI, model: str) -> None:
    schema = {"type": "object", "properties": {"brown": {"type": "boolean"}}, "required": ["brown"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "fox", "schema": schema}}
    text = _chat(client, model, response_format=wanted, max_tokens=40, temperature=0).choices[0].message.content
    assert isinstance(json.loads(text or "")["brown"], bool)


def a_named_tool_is_called(client: openai.OpenAI, model: str) -> None:
    parameters = {"type": "object", "properties": {"fast": {"type": "boolean"}}, "required": ["fast"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "jump", "parameters": parameters}}
    choice = {"type": "function", "function": {"name": "jump"}}
    calls = _chat(client, model, tools=[tool], tool_choice=choice, max_tokens=40, temperature=0).choices[0].message.tool_calls
    assert calls and calls[0].type == "function" and calls[0].function.name == "jump"
    assert isinstance(json.loads(calls[0].function.arguments)["fast"], bool)


def the_model_is_listed(client: openai.OpenAI, model: str) -> None:
    assert [card.id for card in client.models.list()] == [model]


def the_callers_mistakes_have_their_classes(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as unknown:
        _chat(client, "other")
    assert unknown.value.response.headers["matrix-reason"] == "UnknownModel"
    with pytest.raises(openai.BadRequestError) as bad:
        _chat(client, model, max_tokens=-1)
    assert bad.value.response.headers["matrix-retryable"] == "0" and bad.value.body is not None
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages="hello")  # type: ignore[call-overload]
    with pytest.raises(openai.AuthenticationError) as refused:
        _chat(client.with_options(api_key="wrong"), model)
    assert refused.value.response.headers["matrix-reason"] == "Unauthenticated"


CHECKS: tuple[Check, ...] = (
    an_answer_has_text_and_usage,
    a_stream_adds_up_and_ends_with_usage,
    n_gives_so_many_answers,
    the_same_seed_gives_the_same_text,
    an_answer_ends_before_a_stop_text,
    a_list_of_prompts_gives_an_answer_each,
    an_answer_follows_a_json_schema,
    a_named_tool_is_called,
    the_model_is_listed,
    the_callers_mistakes_have_their_classes,
)
