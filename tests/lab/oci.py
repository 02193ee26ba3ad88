"""Container images as archives (OCI image layout in a tar), written from tars of their layers: no builder, no registry, no daemon.

https://github.com/opencontainers/image-spec has the format; containerd takes the image's name from its own annotation.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Image:
    """One image of an archive."""

    name: str
    """`registry/repository:tag`."""
    layers: Sequence[Path]
    """Plain tars, lowest first."""
    config: Mapping[str, Any]
    """The `config` of the image's own, such as Entrypoint, Env and User."""


def write(path: Path, *images: Image) -> None:
    """An archive of those images. A layer that several of them have is in it once."""
    layers = {layer: _digest(layer) for image in images for layer in image.layers}
    made = {image.name: _blobs(image, layers) for image in images}
    named = [
        {**_descriptor(_MANIFEST, manifest), "annotations": {"io.containerd.image.name": name}} for name, (_, manifest) in made.items()
    ]
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": named}).encode())
        for digest, blob in sorted({_sha256(blob): blob for blobs in made.values() for blob in blobs}.items()):
            _add(archive, _blob(digest), blob)
        for digest, layer in sorted({digest: layer for layer, digest in layers.items()}.items()):
            archive.add(layer, _blob(digest))


def layer(path: Path, files: Mapping[str, Path]) -> None:
    """A layer of some files, by their names in the image, executable by all."""
    with tarfile.open(path, "w") as archive:
        for name, source in sorted(files.items()):
            _add(archive, name, source.read_bytes(), 0o755)


def _blobs(image: Image, digests: Mapping[Path, str]) -> tuple[bytes, bytes]:
    """Its config and its manifest."""
    ordered = [digests[layer] for layer in image.layers]
    rootfs = {"type": "layers", "diff_ids": ordered}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": dict(image.config), "rootfs": rootfs}).encode()
    sizes = [layer.stat().st_size for layer in image.layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(_CONFIG, config),
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in zip(ordered, sizes, strict=True)],
    }
    return config, json.dumps(manifest).encode()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _sha256(blob), "size": len(blob)}


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _sha256(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"
