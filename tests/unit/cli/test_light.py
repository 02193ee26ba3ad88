"""Light commands stay light: what they import, and what they cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.client.worlds import LAB, World, ready

HEAVY = ("pydantic", "rich", "httpx2", "grpc", "yaml", "ray", "vllm", "kopf", "psutil", "matrix_operator.reconcile", "matrix_runtime")
CODE = """
import resource, sys
from matrix_cli.main import main
try:
    main()
except SystemExit as end:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(end.code or 0, used.ru_utime + used.ru_stime, *[name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("get",),
        ("get", "-o", "json"),
        ("get", "mxd/chat"),
        ("events",),
        ("controller", "status"),
        ("delete", "mxd/chat"),
        ("completion", "fish"),
        ("env",),
    ],
)
def test_a_light_command_imports_nothing_heavy(managed: World, words: tuple[str, ...]) -> None:
    managed.put(LAB, ready(endpoints=[{"name": "openai", "url": "http://127.0.0.1:1/v1", "scope": "Machine"}]))
    managed.client_token(LAB, "token")
    argv = [sys.executable, "-c", CODE.format(heavy=HEAVY), "--home", str(managed.home.root), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    code, seconds, *heavy = done.stderr.splitlines()[-1].split()

    print(f"matrix {' '.join(words)}: {float(seconds):.2f} s of CPU")
    assert (code, heavy) == ("0", [])
