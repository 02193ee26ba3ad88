"""What the processes of all engines have in common."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

ENDING = (signal.SIGTERM, signal.SIGINT)


def run(main: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run, in an event loop of uvloop's: for processes that hold thousands of connections."""
    with _signals_as_they_were(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, stop.set)
    return stop


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """In the end: uvloop's loop, other than asyncio's, leaves its handlers behind, and a Ctrl-C would go to a loop that is closed."""
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in ENDING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may set them
            for number, handler in before.items():
                signal.signal(number, handler)
