"""The process around an engine."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from matrix_operator.engines.process import ENDING, run, stop_on_signals


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_stops_it_and_afterwards_signals_are_what_they_were(number: signal.Signals) -> None:
    async def main() -> None:
        stop = stop_on_signals()
        os.kill(os.getpid(), number)
        await stop.wait()

    before = [signal.getsignal(one) for one in ENDING]
    run(main())
    assert [signal.getsignal(one) for one in ENDING] == before


def test_so_they_are_when_it_fails() -> None:
    async def main() -> None:
        stop_on_signals()
        raise OSError("a port can't be had")

    before = [signal.getsignal(one) for one in ENDING]
    with pytest.raises(OSError, match="a port"):
        run(main())
    assert [signal.getsignal(one) for one in ENDING] == before


def test_it_runs_in_another_thread_too() -> None:
    ran: list[str] = []

    async def main() -> None:
        ran.append(threading.current_thread().name)

    thread = threading.Thread(target=lambda: run(main()), name="other")
    thread.start()
    thread.join(10)
    assert ran == ["other"]
