"""`python -m tests.lab.kuberay --kubeconfig FILE`: the stand-in by hand, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from tests.lab.kuberay.standin import NODES, StandIn


async def main(kubeconfig: Path, nodes: int) -> None:
    standin = StandIn(kubeconfig, tuple(f"lab-{number}" for number in range(1, nodes + 1)))
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with standin.running():
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--nodes", type=int, default=len(NODES), help="machines that it plays as well; 0 where real ones are")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    asyncio.run(main(arguments.kubeconfig, arguments.nodes))
