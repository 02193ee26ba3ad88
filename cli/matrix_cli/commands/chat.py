"""`matrix chat`: ask a model."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration
from matrix_client.context import LocalContext


@click.command(cls=Command)
@click.argument("model")
@click.argument("text")
@click.option("--system", metavar="TEXT", help="The system message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="At most so many tokens.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 for the same answer every time.")
@click.option("--seed", type=int, help="Of the sampling.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to wait for each piece; then exit code 4.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as OpenAI's JSON.")
@pass_settings
def chat(settings: Settings, /, model: str, text: str, system: str | None, timeout: float, as_json: bool, **params: Any) -> None:
    """Ask a model and print its answer.

    MODEL is the served name; TEXT the question, `-` to read it from stdin. Tokens, seconds and tokens/s go to stderr.
    """
    question = sys.stdin.read() if text == "-" else text
    messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": question}]
    given = {name: value for name, value in params.items() if value is not None}

    async def work(context: LocalContext) -> None:
        from matrix_client.async_client import AsyncMatrix

        async with AsyncMatrix(context, namespace=settings.namespace) as matrix:
            if as_json:
                click.echo(json.dumps((await matrix.chat(model, messages, timeout=timeout, **given)).raw, ensure_ascii=False))
            else:
                await _stream(matrix, model, messages, timeout, given)

    settings.run(work)


async def _stream(matrix: Any, model: str, messages: list[dict[str, Any]], timeout: float, params: dict[str, Any]) -> None:
    answer = await matrix.chat(model, messages, stream=True, timeout=timeout, stream_options={"include_usage": True}, **params)
    begun, pieces = time.monotonic(), 0
    first: float | None = None
    usage: dict[str, Any] = {}
    async for delta in answer:
        usage = delta.raw.get("usage") or usage
        if delta.text:
            first = first or time.monotonic()
            pieces += 1
            click.echo(delta.text, nl=False)
    end = time.monotonic()
    click.echo()
    tokens = int(usage.get("completion_tokens") or pieces)
    click.echo(click.style(figures(tokens, begun, first or end, end), dim=True), err=True)


def figures(tokens: int, begun: float, first: float, end: float) -> str:
    """Tokens, seconds and tokens/s of an answer, from three moments in seconds. The speed is that of decoding: without the first token."""
    text = f"{tokens} tokens in {end - begun:.2f} s, first after {first - begun:.2f} s"
    return f"{text}, {(tokens - 1) / (end - first):.1f} tokens/s" if tokens > 1 and end > first else text
