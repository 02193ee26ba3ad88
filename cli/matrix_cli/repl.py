"""The interactive form of `matrix chat`: reads questions from the terminal, prints answers as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrix_cli.conversation import COMMANDS, HINTS, Conversation, Message, Meter, command_of, read_question, unknown_command
from matrix_client.errors import ClientError
from matrix_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator

    from matrix_client.answers import ChatDelta

PROMPT, FURTHER = ">>> ", "... "
HISTORY_LINES = 1000
BROKE_OFF = "broke off; "

Ask = Callable[[list[Message]], "Generator[ChatDelta, None, None]"]
"""The pieces of the answer to some messages."""


class Repl:
    """One session. `read` shows a prompt and gives a line; it raises EOFError at the end and KeyboardInterrupt for Ctrl-C. `placed`
    makes commands and objects that an error names mean the same place."""

    def __init__(self, conversation: Conversation, ask: Ask, read: Callable[[str], str], placed: Callable[[str], str] = str) -> None:
        self._conversation = conversation
        self._ask = ask
        self._read = read
        self._placed = placed
        self._saved: set[Path] = set()

    def run(self) -> None:
        """Until the user ends it."""
        click.echo(_dim(f"{self._conversation.model} listens; /help says what else there is, Ctrl-D ends"), err=True)
        interrupted = False
        while True:
            try:
                if interrupted:
                    click.echo(_dim("\n(Ctrl-D or /quit ends)"), err=True)
                interrupted = False
                if not self._take(read_question(self._read, PROMPT, FURTHER)):
                    return
            except KeyboardInterrupt:  # nothing else here: a second one would end the conversation
                interrupted = True
            except EOFError:
                click.echo()
                return

    def _take(self, question: str) -> bool:
        """Do what a line says; False to end."""
        command = command_of(question)
        if command is None:
            if question.strip():
                self._answer(question.strip())
        elif command[0] in ("/quit", "/exit"):
            return False
        else:
            self._obey(*command)
        return True

    def _answer(self, question: str) -> None:
        """Print the answer and remember both; a question that got none is forgotten."""
        conversation, meter, remark = self._conversation, Meter(), ""
        conversation.say("user", question)
        try:
            with closing(self._ask(conversation.messages)) as answer:
                for text in meter.passing(answer):
                    click.echo(text, nl=False)
        except KeyboardInterrupt:
            remark = "stopped; "
        except (ClientError, StoreError) as error:
            if meter.text:
                click.echo()
            _complain(self._placed(str(error)))
            remark = BROKE_OFF
        if not meter.text:
            conversation.said.pop()
            return
        if remark != BROKE_OFF:
            click.echo()
        click.echo(_dim(f"{remark}{meter}"), err=True)
        conversation.say("assistant", meter.text)

    def _obey(self, name: str, argument: str) -> None:
        if name == "/help":
            _help()
        elif name == "/reset":
            self._conversation.said.clear()
            click.echo(_dim("forgotten"), err=True)
        elif name == "/system":
            self._conversation.system = argument or self._conversation.system
            click.echo(_dim(f"system message: {self._conversation.system or 'none'}"), err=True)
        elif name == "/save":
            self._save(argument)
        else:
            _complain(unknown_command(name))

    def _save(self, name: str) -> None:
        """A file that was there before is left alone."""
        path = Path(name).expanduser()
        if not name:
            return _complain("where to? write /save FILE")
        try:
            with path.open("w" if path in self._saved else "x") as file:
                file.write(self._conversation.text(as_json=path.suffix == ".json"))
        except FileExistsError:
            return _complain(f"{path} exists; choose another name")
        except OSError as error:
            return _complain(f"{path} can't be written: {error.strerror}")
        self._saved.add(path)
        click.echo(_dim(f"saved to {path}"), err=True)
        return None


def _help() -> None:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"{command.ljust(width)}{text}" for command, text in COMMANDS.items()]
    click.echo(_dim("\n".join([*lines, *HINTS])), err=True)


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _complain(text: str) -> None:
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True)


@contextmanager
def terminal_reader(history: Path) -> Iterator[Callable[[str], str]]:
    """Lines from the terminal, edited with readline, whose history is kept in a file of the user's own."""
    import readline

    words = [command.split()[0] for command in COMMANDS]
    readline.set_completer_delims(" ")
    readline.set_completer(lambda text, state: ([word for word in words if word.startswith(text)] + [None])[state] if text else None)
    readline.parse_and_bind("tab: complete")
    with suppress(OSError):
        readline.read_history_file(history)
    try:
        yield input
    finally:
        readline.set_history_length(HISTORY_LINES)
        with suppress(OSError):
            history.touch(mode=0o600)
            readline.write_history_file(history)
