"""`matrix bridge install-runtime`: the environment of the nodes, on the file system that they share. It needs no rights but to write there.

Each set of requirements gets a directory of its own, and `current` leads to the newest: what runs from a former one goes on.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matrix_client.errors import UsageError

PARTS = ("proto", "crds", "runtime", "operator", "slurm_bridge", "cli")
COMPLETE = ".complete"
CURRENT = "current"
CHECK = "import ray, matrix_runtime, matrix_slurm_bridge.node; print(ray.__version__)"
CHECK_SECONDS = 300.0


class InstallFailed(Exception):
    """A step ended with an error. The message has its last words."""


def checkout_of(given: Path | None) -> Path:
    """Where requirements and sources are. Raises UsageError."""
    found = given or Path(__file__).resolve().parents[3]
    if not (found / "requirements").is_dir() or not (found / "pyproject.toml").is_file():
        raise UsageError(f"{found} is not a checkout of Matrix: name one with --checkout DIR")
    return found


def release(checkout: Path, requirements: Path) -> str:
    """The same for the same requirements and sources."""
    digest = hashlib.sha256(requirements.read_bytes())
    for part in PARTS:
        for path in sorted((checkout / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{requirements.stem}-{digest.hexdigest()[:12]}"


def install(prefix: Path, checkout: Path, hardware: str, tell: Callable[[str], None]) -> Path:
    """The Python that site.yaml is to name. Raises InstallFailed, OSError."""
    requirements = checkout / "requirements" / f"{hardware}.txt"
    target = prefix / release(checkout, requirements)
    if (target / COMPLETE).exists():
        tell(f"{target} is there already")
    else:
        _build(target, checkout, requirements, tell)
    version = _run([str(target / "bin" / "python"), "-c", CHECK], CHECK_SECONDS).strip()
    tell(f"it works here: Ray {version}")
    (target / COMPLETE).touch()
    _point(prefix / CURRENT, target.name)
    return prefix / CURRENT / "bin" / "python"


def _build(target: Path, checkout: Path, requirements: Path, tell: Callable[[str], None]) -> None:
    python = target / "bin" / "python"
    target.parent.mkdir(parents=True, exist_ok=True)
    tell(f"making an environment in {target} from {sys.executable}")
    _run([sys.executable, "-m", "venv", "--clear", *([] if _uv() else ["--upgrade-deps"]), str(target)])
    installer = [_uv(), "pip", "install", "--quiet", "--python", str(python)] if _uv() else [str(python), "-m", "pip", "install", "--quiet"]
    tell(f"installing {requirements} (several GB; it may take minutes)")
    _run([*installer, "--no-deps", "--require-hashes", "-r", str(requirements)])
    tell("installing Matrix itself")
    _run([*installer, "--no-deps", "--no-build-isolation", str(checkout)])
    tell("compiling, so that nodes need not (minutes)")
    _run([str(python), "-m", "compileall", "-q", "-j", "2", str(target / "lib")], tolerated=True)


def _uv() -> str:
    """Of this environment; "" without it."""
    found = Path(sys.prefix) / "bin" / "uv"
    return str(found) if found.exists() else ""


def _point(link: Path, name: str) -> None:
    """In one step: a job that starts meanwhile finds the one or the other."""
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(name)
    draft.replace(link)


def _run(argv: Sequence[str], seconds: float | None = None, *, tolerated: bool = False) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise InstallFailed(f"{' '.join(argv[:4])} ... has not ended within {seconds:g} s") from error
    if done.returncode and not tolerated:
        last = " | ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise InstallFailed(f"{' '.join(argv[:4])} ... failed: {last}")
    return done.stdout
