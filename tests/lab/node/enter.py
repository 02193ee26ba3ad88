"""Becomes a program in the namespaces of another process: `python enter.py PID DIRECTORY PROGRAM ARGUMENT...`.

This process stays outside and waits, as the only one that has a pid out here; when it is killed, the kernel kills the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NAMESPACES = ("net", "uts", "pid", "mnt")
"""`pid` holds for children only, hence the fork; `mnt` comes last, since the others are found in this /proc."""


def main(target: int, directory: str, argv: list[str]) -> int:
    """The program's status, as a shell would tell it."""
    libc = ctypes.CDLL(None, use_errno=True)
    for namespace in [os.open(f"/proc/{target}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _NAMESPACES]:
        if libc.setns(namespace, 0) != 0:
            sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
    os.chdir(directory)
    child = os.fork()
    if child == 0:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 0:  # an outside parent has no number in here; a dead one's child belongs to process 1
            os.execv(argv[0], argv)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
