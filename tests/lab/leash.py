"""Becomes another program that the kernel kills when its parent goes: `python leash.py PARENT PROGRAM ARGUMENT...`.

The request (PR_SET_PDEATHSIG, prctl(2)) outlives the change into the other program. It is made here, in a process of its own, rather
than in a function between fork and exec, since running Python there can hang when the parent has other threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    """Does not return, unless the request was refused or the parent has gone before it was made."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() == parent:
        os.execv(argv[0], argv)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
