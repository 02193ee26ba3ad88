"""What a light command costs: CPU seconds (user + system) of whole processes. No Ray, vLLM, pydantic or kopf is loaded by them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bench.report import Row, report
from matrix_store.database import Database
from matrix_store.home import Home
from tests.e2e.product.product import cluster, dummy

RUNS = 7
MATRIX = str(Path(sys.executable).with_name("matrix"))


def cpu_seconds(command: list[str], environ: dict[str, str]) -> float:
    """CPU time of one run of the command, which must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        environ = os.environ | {"MATRIX_HOME": home}
        import_client = [sys.executable, "-c", "from matrix_client import Matrix"]
        with closing(Database(Home(Path(home)).database)) as database:  # objects, and no controller that works on them
            database.objects.apply_all([cluster("c"), dummy("d", "c")])
        rows = []
        for what, command, limit in (
            ("matrix get matrix", [MATRIX, "get", "matrix"], 0.4),
            ("from matrix_client import Matrix", import_client, 0.3),
            ("python -c pass", [sys.executable, "-c", "pass"], None),
        ):
            cpu_seconds(command, environ)
            values = tuple(cpu_seconds(command, environ) for _ in range(RUNS))
            middle = sorted(values)[RUNS // 2]
            rows.append(Row(what, values, "s CPU", f"< {limit} s" if limit else "", None if limit is None else middle < limit))
        report("light_commands", rows)


if __name__ == "__main__":
    main()
