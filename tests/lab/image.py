"""The images of the operator and the runtime for the lab's node, where there is no container builder.

`python -m tests.lab.image ARCHIVE` writes them by hand. They hold what `docker build` would put into one: the user `matrix` (1000),
`matrix`, `ray` and `python` on the PATH. The first lacks the engine vLLM: models of the engine `dummy` run. The other finds vLLM, torch
and all else that is installed here in a directory that the node mounts into each container: they are 6 GB, whose copies take minutes.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from tests.lab import build, layers, oci
from tests.lab.errors import LabError

ROOT = Path(__file__).parents[2]
EXTRAS = ("operator", "cluster")
CONFIG = {
    "Entrypoint": ["matrix"],
    "Cmd": ["--help"],
    "User": "1000:1000",
    "WorkingDir": "/home/matrix",
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/matrix", "USER=matrix", "PYTHONUNBUFFERED=1", "RAY_USAGE_STATS_ENABLED=0"],
}
"""As in the Dockerfile."""


def name() -> str:
    """Of the image, with the project's version as its tag."""
    return f"matrix.dev/matrix:{metadata.version('matrix-operator')}"


def model_name() -> str:
    """Of the image in which real models run, on a node that mounts `layers.BESIDE`."""
    return f"matrix.dev/matrix-cpu:{metadata.version('matrix-operator')}"


def write(archive: Path) -> None:
    """Writes both images. The system and the packages are kept in the lab's cache for each lock: 30 s for the first, 3 s for the next.

    Raises LabError.
    """
    below = [_kept("system", layers.system), _kept("python", lambda path: layers.python(path, EXTRAS))]
    with tempfile.TemporaryDirectory(prefix="matrix-image-") as scratch:
        project, beside = Path(scratch) / "project.tar", Path(scratch) / "beside.tar"
        layers.project(project, ROOT, _packages())
        layers.beside(beside)
        whole = [*below, project]
        oci.write(archive, oci.Image(name(), whole, CONFIG), oci.Image(model_name(), [*whole, beside], CONFIG))


def _packages() -> Sequence[str]:
    """What a wheel of the project holds."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


def _kept(what: str, make: Callable[[Path], None]) -> Path:
    """A layer from the cache, after making it when it is not there. Those of other locks are removed."""
    directory = build.cache_root() / "layers"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{what}-{_key()}.tar"
    with FileLock(directory / "lock"):
        if not path.is_file():
            for old in directory.glob(f"{what}-*"):
                old.unlink()
            unfinished = directory / f"{what}-unfinished"
            make(unfinished)
            unfinished.rename(path)
    return path


def _key() -> str:
    digest = hashlib.sha256(repr((sys.version, EXTRAS, platform.freedesktop_os_release())).encode())
    for path in (ROOT / "requirements" / "cpu.txt", Path(layers.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def main(arguments: Sequence[str]) -> int:
    """Writes the archive and prints the images' names. 1 when that failed."""
    if len(arguments) != 1:
        print("usage: python -m tests.lab.image ARCHIVE", file=sys.stderr)
        return 2
    try:
        write(Path(arguments[0]))
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{name()}, {model_name()}, {Path(arguments[0]).stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
