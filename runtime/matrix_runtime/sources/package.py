"""package://import_name/path: a model inside an installed Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from matrix_runtime.errors import ModelNotFound


def package_path(rest: str) -> Path:
    """The path that `import_name/path` stands for; without a path, the package's own directory. The package is not imported (parents
    of a dotted name are). Raises ModelNotFound."""
    name, _, inside = rest.partition("/")
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFound(
            f"package://{rest}: no Python package {name} is installed where the cluster runs; install it, or correct spec.model.source"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.exists():
        raise ModelNotFound(f"package://{rest}: the package {name} has no {inside}; it has {_listing(path.parent)}")
    return path


def _listing(directory: Path) -> str:
    names = sorted(entry.name for entry in directory.glob("*") if not entry.name.startswith(("_", ".")))
    return ", ".join(names[:8]) or "nothing there"
