"""Prometheus' own judge of rules and queries: the machine's, or the one of Debian's package, unpacked into the lab's cache and not
installed, since the package brings a server that runs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from tests.lab.build import cache_root
from tests.lab.errors import LabError

PACKAGE = "prometheus"
_NAME = "promtool"
_SECONDS = 300.0


class PromtoolMissing(LabError):
    """It is not on this machine, and there is no Debian to fetch it from: the one reason to skip what needs it."""


def ensure() -> Path:
    """The program. Raises PromtoolMissing, LabError."""
    own = shutil.which(_NAME)
    if own:
        return Path(own)
    kept = cache_root() / _NAME / _NAME
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.parent / "lock"):
        if not kept.exists():
            _fetch(kept)
    return kept


def _fetch(to: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise PromtoolMissing(f"there is no {_NAME}, and no apt-get to fetch the package {PACKAGE} with")
    with tempfile.TemporaryDirectory(dir=to.parent) as directory:
        _run(["apt-get", "-qq", "update"], directory, may_fail=True)  # who is not root has the lists that are there
        _run(["apt-get", "-qq", "download", PACKAGE], directory)
        [package] = Path(directory).glob("*.deb")
        _run(["dpkg-deb", "--extract", str(package), "unpacked"], directory)
        (Path(directory) / "unpacked" / "usr" / "bin" / _NAME).rename(to)


def _run(argv: list[str], directory: str, may_fail: bool = False) -> None:
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode and not may_fail:
        raise LabError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-500:]}")
