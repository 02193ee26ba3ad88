"""`python -m tests.lab [--node] [--image] DIRECTORY`: a Kubernetes for trying things out by hand, until Ctrl-C or SIGTERM.

It has our kinds. With `--node` (root; Debian packages that it names) pods run; `--image` loads that of the operator and the runtime.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab import build, image
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.node import lab
from tests.lab.node.node import ensure
from tests.lab.provision import OUR_CRDS, load_image


def main(arguments: Sequence[str]) -> int:
    """Prints the path of the administrator's kubeconfig when all is ready. 1 when it can't be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("directory", type=Path, help="is made, and removed at the end")
    parser.add_argument("--crds", type=Path, action="append", default=[], metavar="FILE", help="more kinds than ours")
    parser.add_argument("--node", action="store_true", help="with a node")
    parser.add_argument("--image", action="store_true", help="the node has the image of the operator and the runtime")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with _running(options.directory, [*OUR_CRDS, *options.crds], options.node or options.image, options.image) as kubeconfig:
            print(kubeconfig, flush=True)
            ended.wait()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _running(directory: Path, crds: Sequence[Path], with_node: bool, with_image: bool) -> Iterator[Path]:
    build.ensure(tell=_tell)
    if not with_node:
        with ControlPlane(directory, crds=crds, scheduler=True) as plane:
            yield plane.kubeconfig
        return
    ensure(tell=_tell)
    with lab.running(directory, crds) as cluster:
        if with_image:
            load_image(cluster.node)
            _tell(f"the node has {image.name()}")
        yield cluster.plane.kubeconfig


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
