"""`matrix chat` on a real terminal, with a replica that can be made to hang."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.unit.client.replica import TOKEN, Replica, serving
from tests.unit.client.worlds import LAB, World

SECONDS = 60.0
AGAIN_SECONDS = 5.0


LEAD = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Makes stdin the terminal that a Ctrl-C of the new session comes from. (A fork of this process would meet gRPC's threads.)"""


class Terminal:
    """Python on a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self.output = ""
        self._descriptor, far = pty.openpty()
        command = [sys.executable, "-c", LEAD, *argv]
        environ = os.environ | {"TERM": "xterm"}
        self._process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, env=environ, start_new_session=True)
        os.close(far)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._descriptor)

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def until(self, pattern: str) -> str:
        """What was printed since the last call, up to and with what matches."""
        deadline = time.monotonic() + SECONDS
        while not (match := re.search(pattern, self.output)):
            assert time.monotonic() < deadline, self.output
            self._read(0.2)
        told, self.output = self.output[: match.end()], self.output[match.end() :]
        return told

    def press(self, keys: str, pattern: str) -> None:
        """Type them, and again every few seconds, until it shows: readline misses a signal between its prompt and its wait."""
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, self.output
            self.type(keys)
            pause = time.monotonic() + AGAIN_SECONDS
            while time.monotonic() < pause and not re.search(pattern, self.output):
                self._read(0.2)
        self.until(pattern)

    def _read(self, seconds: float) -> None:
        if select.select([self._descriptor], [], [], seconds)[0]:
            self.output += os.read(self._descriptor, 65_536).decode()

    def wait(self) -> int:
        """The exit code."""
        with suppress(OSError):  # Linux says EIO when the other side has closed
            while os.read(self._descriptor, 65_536):
                pass
        return self._process.wait(SECONDS)


def talking(world: World, model: str) -> Terminal:
    return Terminal("-m", "matrix_cli", "--home", str(world.home.root), "chat", model)


@pytest.fixture
def replica(world: World) -> Iterator[Replica]:
    world.client_token(LAB, TOKEN)
    with serving(world, Replica()) as replica:
        yield replica


def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on(world: World, replica: Replica) -> None:
    replica.held = asyncio.Event()
    with talking(world, "chat") as terminal:
        terminal.until(">>> ")
        terminal.type("hello\n")
        terminal.until("one")
        terminal.type("\x03")
        assert "stopped; 1 token in " in terminal.until(">>> ")
        replica.held = None
        terminal.type("go on\n")
        assert "one two three" in terminal.until("tokens/s")
        terminal.until(">>> ")
        terminal.press("\x03", "Ctrl-D or /quit ends")
        terminal.until(">>> ")
        terminal.type("\x04")
        assert terminal.wait() == 0

    asked = [[message["content"] for message in request["messages"]] for request in replica.requests]
    assert asked == [["hello"], ["hello", "one", "go on"]]


def test_an_unknown_model_is_told_before_the_first_question(world: World) -> None:
    with talking(world, "chta") as terminal:
        assert ">>>" not in terminal.until("did you mean 'chat'")
        assert terminal.wait() == 3
