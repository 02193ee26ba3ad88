"""What other versions of Kubernetes know, from the OpenAPI documents in their Go modules: kinds, and every field of theirs.

As strict as the API server's own validation of fields, without one of that version. Rules that are code there are not in it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.lab.errors import LabError

Object = Mapping[str, Any]
_SECONDS = 600.0
_CORE = "api__v1_openapi.json"


def problems(found: Object, version: str) -> list[str]:
    """What a Kubernetes of that version, such as v1.37.0, would refuse about an object; a kind that it does not know is one line.

    The first time fetches its module: 17 MB. Raises LabError.
    """
    api_version, kind = found["apiVersion"], found["kind"]
    document = _document(version, api_version)
    group, _, number = api_version.rpartition("/")
    wanted = {"group": group, "version": number, "kind": kind}
    schemas = document.get("components", {}).get("schemas", {})
    name = next((name for name, schema in schemas.items() if wanted in schema.get("x-kubernetes-group-version-kind", ())), None)
    if name is None:
        return [f"Kubernetes {version} has no {kind} of {api_version}"]
    validator = Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})
    return [f"{kind}.{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(found)]


@cache
def _document(version: str, api_version: str) -> dict[str, Any]:
    """Of one group and version, with unknown fields refused; empty when there is none."""
    path = _module(version) / "api" / "openapi-spec" / "v3"
    file = path / (_CORE if api_version == "v1" else f"apis__{api_version.replace('/', '__')}_openapi.json")
    if not file.is_file():
        return {}
    document: dict[str, Any] = json.loads(file.read_text())
    for schema in _walk(document["components"]["schemas"]):
        if "properties" in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
            schema.setdefault("additionalProperties", False)
    return document


def _walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict) and "type" in part:
            yield part
        for value in part.values():
            yield from _walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from _walk(value)


@cache
def _module(version: str) -> Path:
    with tempfile.TemporaryDirectory(prefix="matrix-openapi-") as scratch:
        argv = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"]
        done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise LabError(f"Kubernetes {version} can't be had: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])
