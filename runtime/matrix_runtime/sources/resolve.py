"""From a source (hf://, file://, package://) to a directory that an engine can load."""

from __future__ import annotations

import socket
from pathlib import Path

from matrix_runtime.errors import ModelNotFound
from matrix_runtime.sources import gguf, hugging_face
from matrix_runtime.sources.credentials import Credentials
from matrix_runtime.sources.package import package_path
from matrix_runtime.sources.port import Report


async def resolve(source: str, cache: Path, report: Report, environment: dict[str, str], credentials: Credentials) -> Path:
    """A directory with the model's config.json, weights and tokenizer. Cancelling leaves nothing half-done that counts as done.
    `environment` is that of a conversion's process. Raises ModelNotFound, StartFailed."""
    scheme, _, rest = source.partition("://")
    if scheme == "hf":
        return await hugging_face.fetch(hugging_face.parse(rest), cache, report, credentials)
    path = package_path(rest) if scheme == "package" else Path(rest)
    model = model_in(path, source)
    if model.is_dir():
        return model
    return await gguf.converted(model, cache, report, environment)


def model_in(path: Path, source: str) -> Path:
    """The model directory or the GGUF file that `path` is or holds. Raises ModelNotFound."""
    if path.is_file() and path.suffix == ".gguf":
        return path
    if not path.exists():
        raise ModelNotFound(
            f"{source}: there is no {path} on node {socket.gethostname()}; correct spec.model.source, or put the model there"
        )
    if (path / "config.json").is_file():
        return path
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if len(files) == 1:
        return files[0]
    if files:
        raise ModelNotFound(f"{source} holds several models; name one of {', '.join(file.name for file in files)} in spec.model.source")
    raise ModelNotFound(f"{source}: {path} is no model: neither a directory with a config.json nor a .gguf file")
