"""A process that must not outlive its parent, not even when the parent is ended by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """From here on the kernel sends SIGKILL to this process when its parent (the thread that started it) ends; see prctl(2).
    Processes that it forks are bound to it in the same way."""
    _bind()
    os.register_at_fork(after_in_child=_bind)


def _bind() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
