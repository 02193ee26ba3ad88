"""What the lab itself asks of its API server, over plain HTTP: no kubectl is needed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.exceptions import ConfigError

from matrix_store.errors import StoreError
from matrix_store.kubernetes.connection import configured
from tests.lab.errors import LabError

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}
_BUSY = 429
_BUSY_SECONDS = 30.0
_SECONDS = 30.0
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # KubeRay's megabytes take the Python one seconds


class Api:
    """One user's calls. What does not answer at all raises httpx2.TransportError; every other failure is a LabError with the API
    server's own message. 429 is asked again: for a kind that it has just learnt of, or after its own start, the server says so."""

    def __init__(self, http: httpx2.Client) -> None:
        """`http` knows the server, and how to say who is calling."""
        self.http = http
        """For calls that are to fail, or that have no method here."""

    @classmethod
    def with_certificate(cls, url: str, authority: Path, certificate: Path, key: Path) -> Api:
        """`certificate` and `key` are the user's, PEM files both, as is the `authority` that signed the server's."""
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        # Not through a proxy that the environment may name.
        return cls(httpx2.Client(base_url=url, verify=context, trust_env=False, timeout=_SECONDS))

    @classmethod
    def of_kubeconfig(cls, path: Path) -> Api:
        """Whatever that file's current context says. Raises LabError when it can't be used."""
        try:
            params = ConnectionParams(timeout=httpx2.Timeout(_SECONDS)).httpx_params(configured(kubeconfig=path))
            return cls(httpx2.Client(**params))
        except (StoreError, ConfigError, OSError, ValueError) as error:
            raise LabError(f"the kubeconfig {path} can't be used: {error}") from error

    def close(self) -> None:
        """Closes its connections."""
        self.http.close()

    def answers(self) -> bool:
        """Whether it is ready for calls, now."""
        try:
            return self.http.get("/readyz", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path: str) -> Any:
        """The object or list at that path."""
        return self._ask("GET", path).json()

    def exists(self, path: str) -> bool:
        """Whether there is an object at that path, one that is being deleted included."""
        return self._ask("GET", path, missing_ok=True).status_code != 404

    def create(self, path: str, manifest: Mapping[str, Any]) -> Any:
        """The object as it was stored; `path` is that of the list it goes into."""
        return self._ask("POST", path, json=manifest).json()

    def delete(self, path: str) -> None:
        """Returns when it is marked; its finalizers and dependents may take longer."""
        self._ask("DELETE", path)

    def apply_crds(self, files: Iterable[Path], timeout: float = 120.0) -> None:
        """Server-side apply of every CRD in those files; returns when all are served."""
        manifests = [manifest for file in files for manifest in yaml.load_all(file.read_bytes(), Loader=_LOADER) if manifest]
        names = [str(manifest["metadata"]["name"]) for manifest in manifests]
        for name, manifest in zip(names, manifests, strict=True):
            # JSON is YAML too, and the only other media type for an apply is CBOR.
            self._ask("PATCH", f"{CRDS}/{name}?fieldManager=lab&force=true", json=manifest, headers=_APPLY)
        wait_for(lambda: all(self.serves(name) for name in names), f"the API server serves {', '.join(names)}", timeout)

    def serves(self, crd: str) -> bool:
        """Whether objects of that CRD can be read. Established comes a moment before: then lists are still refused with 429."""
        found = self.get(f"{CRDS}/{crd}")
        conditions = found.get("status", {}).get("conditions") or []  # null in the manifests of some generators
        established = any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
        return established and self.http.get(f"{_all_of(found)}?limit=1").is_success

    def create_namespace(self, name: str, timeout: float = 120.0) -> None:
        """Returns when pods can be made in it: their admission needs the default service account, which a controller makes. After an API
        server was away for long the controllers ask for it again half a minute after it is back."""
        self.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        wait_for(lambda: self.has_service_account(name), f"namespace {name} has its service account", timeout)

    def has_service_account(self, namespace: str) -> bool:
        """Whether the controllers have made the account that every pod there gets."""
        return self.exists(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")

    def abandon_namespace(self, name: str) -> None:
        """Deletes it with everything in it, without waiting: the end of a namespace takes 5 s and more.

        Custom objects go at once, whatever finalizers they have: the operator that would take them off is gone. One that is gone is fine.
        """
        self._ask("DELETE", f"/api/v1/namespaces/{name}", missing_ok=True)
        for crd in self.get(CRDS)["items"]:
            if crd["spec"]["scope"] == "Namespaced":
                self._empty(_all_of(crd, f"/namespaces/{name}"))

    def _empty(self, path: str) -> None:
        if items := self.get(path)["items"]:
            self.delete(path)
            for item in items:
                body = {"metadata": {"finalizers": None}}
                self._ask("PATCH", f"{path}/{item['metadata']['name']}", json=body, headers=_MERGE, missing_ok=True)

    def _ask(self, method: str, path: str, *, missing_ok: bool = False, **arguments: Any) -> httpx2.Response:
        deadline = time.monotonic() + _BUSY_SECONDS
        while (answer := self.http.request(method, path, **arguments)).status_code == _BUSY and time.monotonic() < deadline:
            time.sleep(0.1)
        if not answer.is_success and not (missing_ok and answer.status_code == 404):
            raise LabError(f"{method} {path}: {answer.status_code} {_message(answer)}")
        return answer


def wait_for(condition: Callable[[], bool], what: str, timeout: float, every: float = 0.02) -> None:
    """Returns when the condition holds, looking `every` so many seconds. Raises LabError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(every)


def _all_of(crd: Mapping[str, Any], namespace: str = "") -> str:
    """The path of all objects of a kind, in one namespace or in all."""
    version = next(version["name"] for version in crd["spec"]["versions"] if version["served"])
    return f"/apis/{crd['spec']['group']}/{version}{namespace}/{crd['spec']['names']['plural']}"


def _message(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text
