"""`matrix chat`: ask a model, or talk with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from matrix_cli import completing
from matrix_cli.colours import coloured
from matrix_cli.conversation import Conversation, Message, Meter
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration
from matrix_client.context import Context

if TYPE_CHECKING:
    from matrix_client.answers import ChatDelta
    from matrix_client.async_client import AsyncMatrix

USAGE = {"include_usage": True}
"""Asks for the model's own count of tokens, in the last piece."""


class _Waiting:
    """Says on stderr what a question waits for, whenever that is another thing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._told = ""

    def __call__(self, text: str) -> None:
        if text != self._told:
            colour = None if coloured(os.environ) else False  # told anew: in the client's thread there is no click context
            click.echo(click.style(f"waiting: {self._settings.spelled(text)}", dim=True), err=True, color=colour)
        self._told = text


@dataclass(frozen=True)
class Manner:
    """How to ask: for each wait at most `timeout` seconds, with OpenAI's `params`."""

    timeout: float
    params: dict[str, Any]


@click.command(cls=Command)
@click.argument("model", shell_complete=completing.models)
@click.argument("text", required=False)
@click.option("--system", metavar="TEXT", default="", help="The system message.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="At most so many tokens.")
@click.option("--temperature", type=click.FloatRange(min=0), metavar="T", help="0 for the same answer every time.")
@click.option("--seed", type=int, metavar="N", help="Of the sampling.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to wait for each piece; then exit code 4.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as OpenAI's JSON.")
@pass_settings
def chat(settings: Settings, /, model: str, text: str | None, system: str, timeout: float, as_json: bool, **params: Any) -> None:
    """Talk with a model.

    MODEL is the served name. With TEXT (or `-` for stdin) it answers once; without, on a terminal, you talk with it. Tokens, seconds and
    tokens/s go to stderr.
    """
    manner = Manner(timeout, {name: value for name, value in params.items() if value is not None})
    conversation = Conversation(model, system)
    if text is None and sys.stdin.isatty():
        _refuse_without_a_terminal(as_json)
        _talk(settings, conversation, manner)
        return
    conversation.say("user", _question(text))
    settings.run(lambda context: _ask_once(context, settings, conversation, manner, as_json))


def _question(text: str | None) -> str:
    question = sys.stdin.read() if text in (None, "-") else str(text)
    if not question.strip():
        raise click.UsageError("there is nothing to ask: give TEXT, or a text on stdin", click.get_current_context())
    return question


def _refuse_without_a_terminal(as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        raise click.UsageError("TEXT is missing: without it one talks on a terminal, as text", click.get_current_context())


async def _ask_once(context: Context, settings: Settings, conversation: Conversation, manner: Manner, as_json: bool) -> None:
    from matrix_client.async_client import AsyncMatrix

    async with AsyncMatrix(context, namespace=settings.namespace, on_wait=_Waiting(settings)) as matrix:
        if as_json:
            answer = await matrix.chat(conversation.model, conversation.messages, timeout=manner.timeout, **manner.params)
            click.echo(json.dumps(answer.raw, ensure_ascii=False))
        else:
            await _stream(matrix, conversation, manner)


async def _stream(matrix: AsyncMatrix, conversation: Conversation, manner: Manner) -> None:
    meter = Meter()
    answer = await matrix.chat(
        conversation.model, conversation.messages, stream=True, timeout=manner.timeout, stream_options=USAGE, **manner.params
    )
    async for delta in answer:
        click.echo(meter.take(delta), nl=False)
    click.echo()
    click.echo(click.style(str(meter), dim=True), err=True)


def _talk(settings: Settings, conversation: Conversation, manner: Manner) -> None:
    from matrix_cli.repl import Repl, terminal_reader
    from matrix_client.context import open_context, resolve_home
    from matrix_client.sync_client import Matrix

    settings.run(lambda context: _refuse_unknown(context, settings.namespace, conversation.model))
    context = open_context(settings.context, settings.home)
    with (
        Matrix(context, namespace=settings.namespace, on_wait=_Waiting(settings)) as matrix,
        terminal_reader(resolve_home(settings.home).root / "chat-history") as read,
    ):

        def ask(messages: list[Message]) -> Generator[ChatDelta, None, None]:
            yield from matrix.chat(conversation.model, messages, stream=True, timeout=manner.timeout, stream_options=USAGE, **manner.params)

        Repl(conversation, ask, read, settings.spelled).run()


async def _refuse_unknown(context: Context, namespace: str, model: str) -> None:
    """Before the first question rather than after it. Raises NotFound."""
    from matrix_client.endpoints import pick

    pick(await (await context.store()).list("ModelDeployment", namespace), model)
