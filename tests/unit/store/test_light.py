"""What a command that looks once pays for importing the store."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pydantic", "asyncio", "yaml", "click", "rich", "httpx2", "ray", "tempfile")


def test_the_synchronous_half_imports_nothing_heavy() -> None:
    code = f"import sys, matrix_store.database, matrix_store.home; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
