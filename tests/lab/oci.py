"""Container images as archives (OCI image layout in a tar), written from tars of their layers: no builder, no registry, no daemon.

https://github.com/opencontainers/image-spec has the format; containerd takes the image's name from its own annotation.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CHUNK = 1 << 20


def write(path: Path, name: str, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
    """An archive of the image `name` (`registry/repository:tag`); `layers` are plain tars, lowest first, and `config` is the `config` of
    the image's own, such as Entrypoint, Env and User."""
    digests = [_digest(layer) for layer in layers]
    described = {"architecture": "amd64", "os": "linux", "config": dict(config), "rootfs": {"type": "layers", "diff_ids": digests}}
    config_blob = json.dumps(described).encode()
    sizes = [layer.stat().st_size for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(_CONFIG, config_blob),
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in zip(digests, sizes, strict=True)],
    }
    manifest_blob = json.dumps(manifest).encode()
    named = {**_descriptor(_MANIFEST, manifest_blob), "annotations": {"io.containerd.image.name": name}}
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]}).encode())
        for blob in (config_blob, manifest_blob):
            _add(archive, _blob(_sha256(blob)), blob)
        for digest, layer in sorted(dict(zip(digests, layers, strict=True)).items()):
            archive.add(layer, _blob(digest))


def layer(path: Path, files: Mapping[str, Path]) -> None:
    """A layer of some files, by their names in the image, executable by all."""
    with tarfile.open(path, "w") as archive:
        for name, source in sorted(files.items()):
            _add(archive, name, source.read_bytes(), 0o755)


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
