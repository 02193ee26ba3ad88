"""What the lab itself asks of its API server, over plain HTTP: no kubectl is needed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.lab.errors import LabError

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Api:
    """One user's calls. Answers are those of the API server, errors included; what does not answer raises httpx2.TransportError."""

    def __init__(self, url: str, authority: Path, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        # Not through a proxy that the environment may name.
        self.http = httpx2.Client(base_url=url, verify=context, trust_env=False, timeout=10)

    def close(self) -> None:
        self.http.close()

    def answers(self) -> bool:
        """Whether it is ready for calls, now."""
        try:
            return self.http.get("/readyz", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path: str) -> Any:
        """The object or list at that path. Raises LabError with the API server's own message."""
        return _object(self.http.get(path))

    def create(self, path: str, manifest: Mapping[str, Any]) -> Any:
        """The object as it was stored. Raises LabError."""
        return _object(self.http.post(path, json=manifest))

    def delete(self, path: str) -> None:
        """Returns when it is marked; its finalizers and dependents may take longer. Raises LabError."""
        _object(self.http.delete(path))

    def apply_crds(self, files: Iterable[Path], timeout: float = 60.0) -> list[str]:
        """Server-side apply of every CRD in those files; returns their names when all are served. Raises LabError."""
        manifests = [manifest for file in files for manifest in yaml.safe_load_all(file.read_bytes()) if manifest]
        names = [str(manifest["metadata"]["name"]) for manifest in manifests]
        for name, manifest in zip(names, manifests, strict=True):
            # YAML is a superset of JSON, which is faster to write. Forced: another run's manager may have owned the fields.
            answer = self.http.patch(f"{CRDS}/{name}", params={"fieldManager": "lab", "force": "true"}, json=manifest, headers=_APPLY)
            _object(answer)
        wait_for(lambda: all(self.serves(name) for name in names), f"the API server serves {', '.join(names)}", timeout)
        return names

    def serves(self, crd: str) -> bool:
        """Whether objects of that CRD can be read. Established comes a moment before: then lists are still refused with 429."""
        found = self.get(f"{CRDS}/{crd}")
        conditions = found.get("status", {}).get("conditions", [])
        established = any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
        return established and self.http.get(f"{_all_of(found)}?limit=1").is_success

    def create_namespace(self, name: str, timeout: float = 30.0) -> None:
        """Returns when pods can be made in it: their admission needs the default service account, which a controller makes."""
        self.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        wait_for(lambda: self.has_service_account(name), f"namespace {name} has its service account", timeout)

    def has_service_account(self, namespace: str) -> bool:
        """Whether the controllers have made the account that every pod there gets."""
        return self.http.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default").status_code == 200

    def abandon_namespace(self, name: str) -> None:
        """Deletes it with everything in it, without waiting: a namespace takes 5 s and more.

        Custom objects go at once, whatever finalizers they have: the operator that would take them off is gone.
        """
        self.delete(f"/api/v1/namespaces/{name}")
        for crd in self.get(CRDS)["items"]:
            if crd["spec"]["scope"] == "Namespaced":
                self._empty(_all_of(crd, f"/namespaces/{name}"))

    def _empty(self, path: str) -> None:
        if items := self.get(path)["items"]:
            self.delete(path)
            for item in items:
                self._drop_finalizers(f"{path}/{item['metadata']['name']}")

    def _drop_finalizers(self, path: str) -> None:
        answer = self.http.patch(path, json={"metadata": {"finalizers": None}}, headers=_MERGE)
        if answer.status_code != 404:
            _object(answer)


def wait_for(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Returns when the condition holds. Raises LabError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)


def _all_of(crd: Mapping[str, Any], namespace: str = "") -> str:
    """The path of all objects of a kind, in one namespace or in all."""
    version = next(version["name"] for version in crd["spec"]["versions"] if version["served"])
    return f"/apis/{crd['spec']['group']}/{version}{namespace}/{crd['spec']['names']['plural']}"


def _object(answer: httpx2.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text
    raise LabError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {message}")
