"""`python -m bench [NAME ...]`: runs the named benches, or all short ones."""

from __future__ import annotations

import importlib
import sys

BENCHES = (
    "light_commands",
    "controller",
    "startup",
    "endpoint",
    "sdk",
    "gateway",
    "kubernetes_operator",
    "slurm_poll",
    "slurm_start",
    "slurm_tunnel",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
