"""`python -m tests.lab.slurm [--nodes N] [--logins N] [--cgroups] [--accounting] DIRECTORY`: a Slurm for trying things out by hand, until
Ctrl-C or SIGTERM. Root is needed, and Debian's packages, which it installs."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from tests.lab.errors import LabError
from tests.lab.slurm import cgroups, needs
from tests.lab.slurm.lab import SlurmLab


def main(arguments: Sequence[str]) -> int:
    """Prints what to type, when all is ready. 1 when it can't be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.slurm", description=__doc__)
    parser.add_argument("directory", type=Path, help="is made, and removed at the end")
    parser.add_argument("--nodes", type=int, default=2, metavar="N", help="compute nodes (default: 2)")
    parser.add_argument("--logins", type=int, default=1, metavar="N", help="login nodes (default: 1)")
    parser.add_argument("--cgroups", action="store_true", help="jobs in control groups: nothing of a job outlives it")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        needs.ensure(options.accounting, tell=lambda line: print(line, file=sys.stderr, flush=True))
        if options.cgroups and not cgroups.available():
            raise LabError("this machine has no control groups of version 1 for memory and the freezer: leave --cgroups out")
        features = {"cgroups": options.cgroups, "accounting": options.accounting, "logins": options.logins}
        with SlurmLab(options.directory.resolve(), options.nodes, **features) as lab:
            print(_usage(lab), flush=True)
            ended.wait()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _usage(lab: SlurmLab) -> str:
    """In the words of a shell."""
    lines = [f"# {len(lab.nodes)} nodes are idle; everybody's shared directory is {lab.shared}"]
    for user in lab.users.values():
        shell = " ".join(map(quote, lab.login.argv("/bin/bash", user=user)))
        lines += [f"# as {user.name}, a shell on the login node, or Slurm's commands from here:", f"{shell}"]
        lines += [f"export PATH={lab.commands(user)}:$PATH"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
