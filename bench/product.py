"""The product as its user runs it: the `matrix` command with a state directory of its own, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from matrix_store.database import Database
from matrix_store.home import Home

MATRIX = str(Path(sys.executable).with_name("matrix"))


class Product:
    """A context: on exit every cluster is taken down and the directory removed."""

    def __init__(self) -> None:
        self.home = Home(Path(tempfile.mkdtemp(prefix="matrix-bench-")))
        self.environ = os.environ | {"MATRIX_HOME": str(self.home.root)}

    def __enter__(self) -> Product:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        names = json.loads(self.matrix("get", "mxc", "-o", "json", check=False) or "{}").get("items", [])
        for item in names:
            self.matrix("down", f"mxc/{item['metadata']['name']}", "--timeout", "60", check=False)
        self.matrix("controller", "stop", check=False)
        shutil.rmtree(self.home.root, ignore_errors=True)

    def matrix(self, *arguments: str, check: bool = True) -> str:
        """Run the command; its standard output. Raises CalledProcessError with what it said."""
        done = subprocess.run([MATRIX, *arguments], env=self.environ, capture_output=True, text=True)
        if check and done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            done.check_returncode()
        return done.stdout

    def controller_pid(self) -> int:
        database = Database(self.home.database)
        try:
            holder = database.lock().holder()
            assert holder is not None, "no controller runs"
            return holder.owner.pid
        finally:
            database.close()
