"""A process that plays what is around an operator: the stand-in for KubeRay and for machines, and a Ray of each cluster on loopback.

Prints where the Rays answer, and lives until it is terminated.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tests.e2e.kubernetes.kuberay.fake_reach import ray_of
from tests.lab.kuberay.standin import StandIn, in_thread


def main(kubeconfig: Path) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with in_thread(StandIn(kubeconfig)) as standin, ray_of(standin) as ray:
        print(ray.url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
