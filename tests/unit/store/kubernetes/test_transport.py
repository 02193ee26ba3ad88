"""The lines of a watch, however they are cut on the way and whatever is in them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_store.kubernetes import paths
from matrix_store.kubernetes.transport import LineSplitter
from matrix_store.kubernetes.watch import Watch
from matrix_store.port import ChangeType
from tests.unit.store.kubernetes.server import api, cluster, event, is_watch, listed
from tests.unit.store.support import KIND, run

NO_ENDS = "\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e\r"
"""What str.splitlines also takes for the end of a line. The first is one that Go's encoding/json does not escape."""


class Pieces(httpx2.AsyncByteStream):
    """A body that comes in these pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


def split(pieces: Sequence[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    return [*(line for piece in pieces for line in splitter.whole(piece)), splitter.rest]


@given(st.lists(st.text("aä€\U0001f600" + NO_ENDS + "\n")), st.lists(st.integers(0, 500)))
def test_lines_are_those_between_newlines_wherever_they_are_cut(lines: list[str], places: list[int]) -> None:
    whole = "\n".join(lines).encode()
    assert split(cut(whole, places)) == whole.split(b"\n")


async def lines_of(pieces: Sequence[bytes]) -> list[bytes]:
    async def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Pieces(pieces))

    async with aclosing(api(answer).lines("/api", {}, 5.0)) as found:
        return [line async for line in found]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_ends_no_line_in_json_ends_none(size: int) -> None:
    told = [f"one {NO_ENDS} ä€\U0001f600".encode(), b"", b"two", b"the last, without an end"]
    whole = b"\n".join(told)
    assert run(lines_of([whole[start : start + size] for start in range(0, len(whole), size)])) == told


def test_an_answer_that_ends_with_a_newline_has_no_line_behind_it() -> None:
    assert run(lines_of([b"one\n", b"two\n"])) == [b"one", b"two"]


def test_an_annotation_with_a_next_line_character_does_not_hold_up_a_watch() -> None:
    odd = cluster("a", 6, annotations={"note": "before\x85after"})
    line = json.dumps(event("ADDED", odd), ensure_ascii=False).encode() + b"\n"

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if not is_watch(request):
            return listed(5)
        if request.url.params["resourceVersion"] != "5":
            await asyncio.Event().wait()
        return httpx2.Response(200, stream=Pieces([line]))

    async def body() -> None:
        async with asyncio.timeout(10), aclosing(Watch(api(answer), {KIND: paths.collection(KIND)}, 60, 15).changes()) as changes:  # type: ignore[type-var]
            told = [await anext(changes), await anext(changes)]
        assert [change.type for change in told] == [ChangeType.SYNCED, ChangeType.CHANGED]
        assert told[1].object is not None and told[1].object.raw["metadata"]["annotations"] == {"note": "before\x85after"}

    run(body())
