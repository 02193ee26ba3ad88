"""`matrix chat` without a text: a conversation on a terminal. The terminal and the model are stood in for by generators."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matrix_cli.conversation import Conversation, Meter, command_of, figures, read_question, unknown_command
from matrix_cli.repl import Repl, terminal_reader
from matrix_client.errors import Unreachable

Line = str | type[BaseException]


def delta(text: str, tokens: int | None = None) -> Any:
    return SimpleNamespace(text=text, usage=None if tokens is None else SimpleNamespace(completion_tokens=tokens))


class Session:
    """Types lines and answers questions."""

    def __init__(self, *lines: Line, answers: tuple[Any, ...] = (), system: str = "") -> None:
        self.conversation = Conversation("parrot", system)
        self.asked: list[list[dict[str, Any]]] = []
        self.closed = 0
        self._lines: Iterator[Line] = iter([*lines, EOFError])
        self._answers = iter(answers)
        Repl(self.conversation, self._ask, self._read).run()

    def _read(self, prompt: str) -> str:
        line = next(self._lines)
        if isinstance(line, str):
            return line
        raise line

    def _ask(self, messages: list[dict[str, Any]]) -> Generator[Any, None, None]:
        self.asked.append(list(messages))
        try:
            for piece in next(self._answers):
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self.closed += 1


WORDS = (delta("one"), delta(" two"), delta("", 7))


def test_the_model_sees_all_that_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("hello", "and now?", answers=(WORDS, (delta("three"),)), system="be brief")
    told = capsys.readouterr()

    assert [[message["content"] for message in asked] for asked in session.asked] == [
        ["be brief", "hello"],
        ["be brief", "hello", "one two", "and now?"],
    ]
    assert [message["role"] for message in session.conversation.said] == ["user", "assistant"] * 2
    assert told.out == "one two\nthree\n\n"
    assert "7 tokens in " in told.err and "tokens/s" in told.err


def test_ctrl_c_stops_the_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("hello", "go on", answers=((delta("one"), KeyboardInterrupt()), WORDS))
    told = capsys.readouterr()

    assert session.closed == 2
    assert [message["content"] for message in session.asked[1]] == ["hello", "one", "go on"]
    assert "stopped; 1 token in " in told.err


def test_ctrl_c_at_the_prompt_says_how_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(KeyboardInterrupt, "hello", answers=(WORDS,))

    assert len(session.asked) == 1
    assert "(Ctrl-D or /quit ends)" in capsys.readouterr().err


def test_a_question_without_an_answer_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("hello", "again", answers=((Unreachable("no replica could be reached"),), WORDS))

    assert [message["content"] for message in session.asked[1]] == ["again"]
    assert "error: no replica could be reached" in capsys.readouterr().err


def test_an_answer_that_breaks_off_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("hello", answers=((delta("one"), Unreachable("the replica is gone")),))
    told = capsys.readouterr()

    assert [message["content"] for message in session.conversation.said] == ["hello", "one"]
    assert told.out == "one\n\n"
    assert "error: the replica is gone" in told.err and "broke off; 1 token" in told.err


def test_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "said.json"
    before = ["/help", "/system speak French", "hello", f"/save {file}", "again", f"/save {file}"]
    session = Session(*before, "/reset", "/system", "third", "/quit", "not read", answers=(WORDS, WORDS, WORDS))
    told = capsys.readouterr().err

    assert "/save FILE" in told and '"""' in told
    assert [len(asked) for asked in session.asked] == [2, 4, 2]
    assert told.count("system message: speak French") == 2
    saved = json.loads(file.read_text())
    assert saved["model"] == "parrot"
    assert [message["role"] for message in saved["messages"]] == ["system", "user", "assistant", "user", "assistant"]


def test_a_file_that_was_there_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("mine")
    Session("/save", f"/save {tmp_path}/there.txt", f"/save {tmp_path}/no/such/dir", f"/save {tmp_path}/new.txt")
    told = capsys.readouterr().err

    assert "where to? write /save FILE" in told
    assert "there.txt exists; choose another name" in told
    assert "can't be written: No such file or directory" in told
    assert ((tmp_path / "there.txt").read_text(), (tmp_path / "new.txt").read_text()) == ("mine", "\n")


def test_as_text_each_says_who_speaks() -> None:
    conversation = Conversation("m", "be brief")
    conversation.say("user", "hello")

    assert conversation.text(as_json=False) == "system:\nbe brief\n\nuser:\nhello\n"


def test_a_command_that_is_none_is_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("/rest", "/etc/passwd is what?", " /etc/passwd is what?", answers=(WORDS,))
    told = capsys.readouterr().err

    assert "no command /rest; did you mean /reset?" in told
    assert "to send it as text, put a space before it" in told
    assert [message["content"] for message in session.asked[0]] == ["/etc/passwd is what?"]


@pytest.mark.parametrize(
    ("lines", "question"),
    [
        (["hello"], "hello"),
        (["one \\", "two\\", "three"], "one \ntwo\nthree"),
        (['"""', "one", "", "two", '"""'], "one\n\ntwo"),
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""one"""'], "one"),
        ([""], ""),
    ],
)
def test_questions_of_several_lines(lines: list[str], question: str) -> None:
    prompts: list[str] = []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        return lines[len(prompts) - 1]

    assert read_question(read, "> ", ". ") == question
    assert prompts == ["> ", *[". "] * (len(lines) - 1)]


@pytest.mark.parametrize(
    ("line", "command"),
    [("/save a b", ("/save", "a b")), ("/quit", ("/quit", "")), (" /quit", None), ("what is a/b?", None), ("", None)],
)
def test_what_is_a_command(line: str, command: tuple[str, str] | None) -> None:
    assert command_of(line) == command


def test_an_unknown_command_like_none_names_the_help() -> None:
    assert "/help lists them" in unknown_command("/xyzzy")


def test_the_meter_counts_pieces_until_the_model_has_counted() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    meter = Meter(lambda: next(times))
    texts = [meter.take(piece) for piece in (delta("a"), delta("b"))]

    assert (texts, meter.text, meter.tokens) == (["a", "b"], "ab", 2)
    meter.take(delta("", 11))
    assert str(meter) == "11 tokens in 3.00 s, first after 1.00 s, 5.0 tokens/s"


@pytest.mark.parametrize(
    ("tokens", "first", "end", "text"),
    [
        (11, 0.5, 2.5, "11 tokens in 2.50 s, first after 0.50 s, 5.0 tokens/s"),
        (1, 0.5, 0.5, "1 token in 0.50 s, first after 0.50 s"),
        (0, 0.0, 0.0, "0 tokens in 0.00 s, first after 0.00 s"),
    ],
)
def test_figures_leave_the_first_token_out_of_the_speed(tokens: int, first: float, end: float, text: str) -> None:
    assert figures(tokens, 0.0, first, end) == text


def test_what_was_typed_is_kept_for_the_user_alone(tmp_path: Path) -> None:
    history = tmp_path / "chat-history"
    with terminal_reader(history) as read:
        assert read is input

    assert history.stat().st_mode & 0o777 == 0o600
