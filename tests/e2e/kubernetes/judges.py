"""The two that judge a manifest: pydantic's models, and an API server that has the CRDs made from them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig

from matrix_crds.constants import API_VERSION
from matrix_crds.errors import ManifestError
from matrix_crds.loading import load_manifests, validate
from matrix_crds.registry import by_kind
from tests.e2e.kubernetes.manifests import Raw
from tests.e2e.kubernetes.mutants import Mutant

STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
"""As kubectl asks: unknown fields and fields given twice are errors. Nothing is stored."""
REFUSED = (400, 422)
AT_ONCE = 8


@dataclass(frozen=True)
class Verdict:
    """What one judge says of a manifest."""

    spec: Raw | None
    """As it would be stored, with defaults; None if the manifest is refused."""
    words: str = field(default="accepted", compare=False)

    @property
    def accepted(self) -> bool:
        return self.spec is not None


def ours(mutant: Mutant) -> Verdict:
    """What `matrix` says before it sends anything."""
    try:
        resource = validate(mutant.new, validate(mutant.old) if mutant.old else None)
    except ManifestError as error:
        return Verdict(None, str(error))
    return Verdict(resource.to_wire()["spec"])


def ours_of_text(text: str) -> Verdict:
    """What `matrix` says of a file with one object."""
    try:
        (manifest,) = load_manifests(text, "file")
    except ManifestError as error:
        return Verdict(None, str(error))
    return Verdict(manifest.resource.to_wire()["spec"])


class ApiServer:
    """The objects of our kinds in one namespace."""

    def __init__(self, http: httpx2.AsyncClient, namespace: str) -> None:
        self.http = http
        self._namespace = namespace

    def path(self, kind: str, *more: str) -> str:
        """Of all objects of a kind, or of what follows."""
        return "/".join((f"/apis/{API_VERSION}/namespaces/{self._namespace}/{by_kind(kind).plural}", *more))

    async def create(self, manifest: Raw, **parameters: str) -> Raw:
        """The stored object. Raises httpx2.HTTPStatusError."""
        answer = await self.http.post(self.path(manifest["kind"]), params=parameters, **_json(manifest))
        stored: Raw = answer.raise_for_status().json()
        return stored

    async def judge(self, mutants: Sequence[Mutant]) -> list[Verdict]:
        """What the server says of each. What updates start from is stored after all creations: its name would be taken."""
        gate = asyncio.Semaphore(AT_ONCE)
        verdicts: dict[str, Verdict] = {}

        async def one(mutant: Mutant, method: str, path: str, manifest: Raw) -> None:
            async with gate:
                answer = await self.http.request(method, path, params=STRICT, **_json(manifest))
                verdicts[mutant.name] = _verdict(answer, mutant.name)

        await asyncio.gather(*(one(mutant, "POST", self._place(mutant.new), mutant.new) for mutant in mutants if not mutant.old))
        stored = {_name(old): await self.create(old) for old in {_name(m.old): m.old for m in mutants if m.old}.values()}
        updates = ((mutant, stored[_name(mutant.old)]) for mutant in mutants if mutant.old)
        await asyncio.gather(*(one(m, "PUT", self.path(old["kind"], _name(old)), _over(old, m.new)) for m, old in updates))
        return [verdicts[mutant.name] for mutant in mutants]

    async def judge_texts(self, kind: str, texts: Sequence[str]) -> list[Verdict]:
        """What the server says of each text, read by itself: its YAML reader is that of kubectl."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(text: str) -> Verdict:
            async with gate:
                return _verdict(await self._send_text(kind, text), text)

        return await asyncio.gather(*map(one, texts))

    async def create_text(self, kind: str, text: str) -> Raw:
        """The object of that YAML as it would be stored."""
        answer = await self._send_text(kind, text)
        assert answer.is_success, answer.text
        stored: Raw = answer.json()
        return stored

    async def _send_text(self, kind: str, text: str) -> httpx2.Response:
        return await self.http.post(self.path(kind), params=STRICT, content=text.encode(), headers={"Content-Type": "application/yaml"})

    def _place(self, manifest: Raw) -> str:
        """Where kubectl would send it; a kind that does not exist goes to the first."""
        return self.path("ModelDeployment" if manifest.get("kind") == "ModelDeployment" else "MatrixCluster")


def _name(manifest: Raw) -> str:
    return str(manifest["metadata"]["name"])


def _over(stored: Raw, manifest: Raw) -> Raw:
    """The manifest as a replacement of what is stored."""
    return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": stored["metadata"]["resourceVersion"]}}


@asynccontextmanager
async def api_server(kubeconfig: Path, namespace: str) -> AsyncIterator[ApiServer]:
    """The administrator's access, whatever the kubeconfig has for it. Not through a proxy that the environment may name."""
    parameters = ConnectionParams(trust_env=False, timeout=httpx2.Timeout(30))
    config = KubeConfig.from_file(kubeconfig).get()
    assert config is not None, f"{kubeconfig} has no current context"
    async with AsyncClient(config, parameters) as http:
        yield ApiServer(http, namespace)


def _verdict(answer: httpx2.Response, what: str) -> Verdict:
    if answer.is_success:
        return Verdict(answer.json().get("spec", {}))
    assert answer.status_code in REFUSED, f"{what}: {answer.status_code} {answer.text}"
    return Verdict(None, answer.json()["message"])


def _json(manifest: Raw) -> dict[str, Any]:
    return {"content": json.dumps(as_go_writes(manifest)), "headers": {"Content-Type": "application/json"}}


def as_go_writes(value: Any) -> Any:
    """kubectl reads 3.0, as JSON does, as the number 3, and sends it so (encoding/json of Go: whole numbers below 1e21 have no point)."""
    if isinstance(value, dict):
        return {key: as_go_writes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_go_writes(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value
