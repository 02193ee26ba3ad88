"""The user's own keys for where models come from: files of a directory, or what the environment has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matrix_runtime.tokens import TokenFile

HUB_TOKEN = "hf-token"
"""The file with the token for the Hugging Face hub."""


@dataclass(frozen=True)
class Credentials:
    """`directory` None: there is none, the environment counts (HF_TOKEN). Files are read at each use: a new key needs no restart."""

    directory: Path | None

    def hub_token(self) -> str | None:
        """None: what the hub's own library finds in the environment."""
        return (TokenFile(self.directory / HUB_TOKEN).read() or None) if self.directory else None

    @property
    def hub_token_place(self) -> str:
        """Where a token has to be put, in words."""
        return f"the key {HUB_TOKEN} in its Secret of credentials" if self.directory else "HF_TOKEN"
