"""`python -m tests.e2e.slurm.product.asker MODEL CLIENTS`, on a login node: clients that ask one question after the other, over gRPC and
through the gateway. Until its standard input ends; then it prints as JSON what became of them. A line `now` on the way prints the same so
far."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

from matrix_store.home import Home
from tests.e2e.product.crowd import Crowd


def main() -> int:
    """OPENAI_BASE_URL and OPENAI_API_KEY: the gateway's."""
    model, clients = sys.argv[1], int(sys.argv[2])
    with Crowd(Home.resolve(), model, os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"], clients) as crowd:
        print("asks", flush=True)
        for _ in sys.stdin:
            print(json.dumps(_told(crowd)), flush=True)
    print(json.dumps(_told(crowd)), flush=True)
    return 0


def _told(crowd: Crowd) -> dict[str, Any]:
    ends = sorted(one.at + one.seconds for one in crowd.answered if one.way == "gRPC")
    silence = max((later - earlier for earlier, later in pairwise([*ends, time.monotonic()])), default=0.0)
    return {
        "answered": len(crowd.answered),
        "lost": len(crowd.lost),
        "broken": len(crowd.broken),
        "lost_over_grpc": sum(one.way == "gRPC" for one in crowd.lost),
        "silence": silence,
        "errors": crowd.errors(),
    }


if __name__ == "__main__":
    sys.exit(main())
