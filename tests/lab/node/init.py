"""The first process of the node's namespaces: `python init.py MARKER`. When it is killed, the kernel ends every other one in them, and all
that was mounted and every network interface that was made in them is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

HIDDEN = ("/run", "/var/lib", "/var/log")
"""Where the node's programs insist on writing whatever their settings say. In here these are empty, and nobody else's."""
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
"""Of this network namespace."""


def main(marker: Path) -> None:
    """Makes the namespaces fit for a node, writes `marker`, and stays. Reaps what its owner left, by not asking for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for path in HIDDEN:
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "mode=755", "matrix-lab", path], check=True)
    _FORWARD.write_text("1")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    marker.touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
