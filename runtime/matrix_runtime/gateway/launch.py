"""Becomes HAProxy, bound to the life of its parent: launch.py PARENT_PID BINARY [ARGUMENT ...].

Few imports: it is in the way of a restart.
"""

from __future__ import annotations

import os
import sys

from matrix_runtime.lifeline import die_with_parent


def main(parent: int, command: list[str]) -> None:
    """Does not return."""
    die_with_parent()  # holds across exec; see prctl(2)
    if os.getppid() != parent:
        sys.exit("the gateway has ended meanwhile")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
