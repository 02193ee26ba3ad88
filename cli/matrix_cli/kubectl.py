"""`kubectl matrix`: the same commands as kubectl's plugin, on the cluster that kubectl speaks to.

kubectl runs `kubectl-matrix` for `kubectl matrix ...`, and `kubectl_complete-matrix` when its own completion comes to a word of it
(https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/).
"""

from __future__ import annotations

import sys
from typing import NoReturn

from matrix_cli import program

FILES, NO_FILES = 0, 4
"""Whether the shell may offer files besides: cobra's ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp."""


def main() -> NoReturn:
    """The entry point of the `kubectl-matrix` script."""
    program.use(program.PLUGIN)
    from matrix_cli.main import matrix

    matrix.main(prog_name=program.PLUGIN.name)


def complete() -> None:
    """The entry point of the `kubectl_complete-matrix` script: the words so far are its arguments, the last of them unfinished.

    Prints what may stand there, one a line, what it is after a tab, and last a colon and whether files may, too.
    """
    program.use(program.PLUGIN)
    from click.shell_completion import ShellComplete

    from matrix_cli.main import matrix

    *words, incomplete = sys.argv[1:] or [""]
    offers = ShellComplete(matrix, {}, program.PLUGIN.name, "").get_completions(words, incomplete)
    for offer in offers:
        if offer.type == "plain":
            print(offer.value, offer.help, sep="\t") if offer.help else print(offer.value)
    print(f":{FILES if any(offer.type in ('file', 'dir') for offer in offers) else NO_FILES}")
