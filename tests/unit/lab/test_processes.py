"""A process of the lab lives exactly as long as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.processes import Process, end_all

ROOT = Path(__file__).parents[3]
SHELL = "/bin/sh"
SECONDS = 20.0
Make = Callable[[str], Process]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Process] = []

    def make(script: str) -> Process:
        made.append(Process(f"part-{len(made)}", [SHELL, "-c", script], tmp_path, tmp_path / f"{len(made)}.log"))
        made[-1].start()
        return made[-1]

    yield make
    for process in made:
        process.kill()


def said(process: Process, text: str) -> None:
    wait_for(lambda: text in process.tail(), f"{process.name} says {text}", SECONDS)


def test_the_pid_is_the_programs_own_in_its_own_session(make: Make) -> None:
    part = make("echo I am $$; exec sleep 100")
    said(part, f"I am {part.pid}")
    assert os.getsid(part.pid) == part.pid


def test_it_is_killed_and_started_again_and_its_log_goes_on(make: Make) -> None:
    part = make("echo here; exec sleep 100")
    said(part, "here")
    first = part.pid
    part.kill()
    assert not part.running
    with pytest.raises(LabError, match="part-0 does not run"):
        _ = part.pid
    with pytest.raises(LabError, match=r"^part-0 ended with status -9; the end of its log:\nhere$"):
        part.require_running()
    part.start()
    said(part, "here\nhere")
    assert part.pid != first
    with pytest.raises(LabError, match="runs already"):
        part.start()


def test_stopped_it_stands_still_until_it_goes_on(make: Make) -> None:
    part = make("exec sleep 100")
    part.stop()
    wait_for(lambda: psutil.Process(part.pid).status() == psutil.STATUS_STOPPED, "it stands still", SECONDS)
    assert part.running
    part.cont()
    wait_for(lambda: psutil.Process(part.pid).status() != psutil.STATUS_STOPPED, "it goes on", SECONDS)


def test_all_are_ended_at_once_also_the_stopped_and_the_deaf(make: Make) -> None:
    good, deaf, stopped = make("exec sleep 100"), make("trap '' TERM; echo deaf; exec sleep 100"), make("exec sleep 100")
    said(deaf, "deaf")
    stopped.stop()
    end_all([good, deaf, stopped], grace=0.5)
    assert not any(part.running for part in (good, deaf, stopped))
    end_all([good])


def test_started_from_a_thread_that_ends_it_lives_on(make: Make) -> None:
    parts: list[Process] = []
    thread = threading.Thread(target=lambda: parts.append(make("echo up; exec sleep 100")))
    thread.start()
    thread.join(SECONDS)
    said(parts[0], "up")
    assert not parts[0].wait(0.3)


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.lab.processes import Process\n"
        "here = Path(sys.argv[1]); part = Process('part', ['/bin/sh', '-c', 'echo up; exec sleep 100'], here, here / 'log'); part.start()\n"
        "while 'up' not in part.tail(): time.sleep(0.01)\n"
        "print(part.pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        part = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    part.wait(SECONDS)
    assert not part.is_running()
