"""The version of this runtime, for the handshake with the control plane."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "matrix-operator"


def runtime_version() -> str:
    """The installed distribution's version."""
    return metadata.version(DISTRIBUTION)
