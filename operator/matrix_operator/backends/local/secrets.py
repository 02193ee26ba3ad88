"""A cluster's two tokens: files for the owner alone. They never go into an argv, an environment or a log."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from matrix_store.home import DIRECTORY_MODE

RAY_TOKEN = "ray-token"
"""Means running code on the cluster: for the control plane."""
CLIENT_TOKEN = "client-token"
"""Means using its models and sandboxes."""


def make_tokens(directory: Path) -> None:
    """Make those that are missing; existing ones stay. Raises OSError."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    for name in (RAY_TOKEN, CLIENT_TOKEN):
        _make_token(directory / name)


def read_token(directory: Path, name: str) -> str | None:
    """None while it is not made. Raises OSError."""
    with suppress(FileNotFoundError):
        return (directory / name).read_text().strip() or None
    return None


def _make_token(path: Path) -> None:
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(32))
    draft.replace(path)  # in one step: a token that was read once never changes
