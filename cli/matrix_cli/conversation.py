"""A conversation with a model: what was said, and the commands of the interactive form. No terminal here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from matrix_cli.plural import plural

if TYPE_CHECKING:
    from matrix_client.answers import ChatDelta

Message = dict[str, Any]
"""OpenAI's: role and content."""

COMMANDS = {
    "/help": "says this",
    "/reset": "forgets what was said; the system message stays",
    "/system TEXT": "sets the system message; without TEXT shows it",
    "/save FILE": "writes what was said: as JSON if the name ends in .json, else as text",
    "/quit": "ends, as does Ctrl-D",
}
HINTS = (
    'A line that ends in \\ goes on in the next; so does everything between two lines of """.',
    "Ctrl-C stops an answer. Text that begins with / is sent when a space stands before it.",
)
QUOTES = '"""'


@dataclass
class Conversation:
    """What was said so far."""

    model: str
    system: str = ""
    said: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """As a request has them."""
        return ([{"role": "system", "content": self.system}] if self.system else []) + self.said

    def say(self, role: str, text: str) -> None:
        self.said.append({"role": role, "content": text})

    def text(self, *, as_json: bool) -> str:
        """All of it, for a file."""
        if as_json:
            return json.dumps({"model": self.model, "messages": self.messages}, indent=2, ensure_ascii=False) + "\n"
        return "\n\n".join(f"{message['role']}:\n{message['content']}" for message in self.messages) + "\n"


def command_of(line: str) -> tuple[str, str] | None:
    """The command and its argument; None for a question."""
    if not line.startswith("/"):
        return None
    name, _, argument = line.strip().partition(" ")
    return name, argument.strip()


def unknown_command(name: str) -> str:
    """What to say of a command that there isn't."""
    near = get_close_matches(name, [command.split()[0] for command in COMMANDS], n=1)
    return f"no command {name}; " + (f"did you mean {near[0]}?" if near else "/help lists them; to send it as text, put a space before it")


def read_question(read: Callable[[str], str], prompt: str, further: str) -> str:
    """One question, of one line or several. `read` takes a prompt and gives a line; raises what it raises."""
    line = read(prompt)
    if line.strip().startswith(QUOTES):
        return _quoted(read, line.strip().removeprefix(QUOTES), further)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read(further))
    return "\n".join(lines)


def _quoted(read: Callable[[str], str], first: str, further: str) -> str:
    lines = [first]
    while QUOTES not in lines[-1]:
        lines.append(read(further))
    lines[-1] = lines[-1].partition(QUOTES)[0]
    return "\n".join(lines).strip("\n")


class Meter:
    """Passes the pieces of an answer on, and measures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begun = self.end = clock()
        self.first: float | None = None
        self.text = ""
        self._pieces = 0
        self._counted = 0

    def take(self, delta: ChatDelta) -> str:
        """The piece's text."""
        self._counted = delta.usage.completion_tokens if delta.usage else self._counted
        self.end = self._clock()
        if delta.text:
            self.first = self.end if self.first is None else self.first
            self._pieces += 1
            self.text += delta.text
        return delta.text

    def passing(self, deltas: Iterable[ChatDelta]) -> Iterator[str]:
        """The texts of an answer."""
        return (self.take(delta) for delta in deltas)

    @property
    def tokens(self) -> int:
        """As the model counted them; before it has, the pieces."""
        return self._counted or self._pieces

    def __str__(self) -> str:
        return figures(self.tokens, self.begun, self.end if self.first is None else self.first, self.end)


def figures(tokens: int, begun: float, first: float, end: float) -> str:
    """Tokens, seconds and tokens/s of an answer, from three moments in seconds. The speed is that of decoding: without the first token."""
    text = f"{plural(tokens, 'token')} in {end - begun:.2f} s, first after {first - begun:.2f} s"
    return f"{text}, {(tokens - 1) / (end - first):.1f} tokens/s" if tokens > 1 and end > first else text
