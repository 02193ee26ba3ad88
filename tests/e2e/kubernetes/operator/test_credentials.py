"""An operator with a service account's token, which is another one from time to time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_operator.rbac import RULES
from tests.e2e.kubernetes.operator.operators import Operators
from tests.e2e.kubernetes.operator.test_election import ACTS_SECONDS, CLUSTERS, cluster
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(400)

EXEC = "client.authentication.k8s.io/v1"
REFUSED_SECONDS = 12.0
"""The API server remembers for 10 s that a token was good (kube-apiserver --authentication-token-webhook-cache-ttl and its kin)."""
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


class Account:
    """A service account with the operator's rights in one namespace, whose token lies in a file."""

    def __init__(self, plane: ControlPlane, namespace: str, directory: Path) -> None:
        self._api = plane.api
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self._token = directory / "token"
        self._bind(namespace)
        self.renew()
        self._plane = plane
        self.kubeconfig = directory / "kubeconfig"
        self._configure({"tokenFile": str(self._token)})

    def by_plugin(self, directory: Path) -> None:
        """From now on the kubeconfig names a program that prints the token, as those of clouds do."""
        plugin = directory / "plugin"
        credential = f'{{"apiVersion": "{EXEC}", "kind": "ExecCredential", "status": {{"token": "%s"}}}}'
        plugin.write_text(f'#!/bin/sh\nprintf \'{credential}\' "$(cat "$1")"\n')
        plugin.chmod(0o755)
        called = {"apiVersion": EXEC, "command": str(plugin), "args": [str(self._token)], "interactiveMode": "Never"}
        self._configure({"exec": called})

    def _configure(self, user: dict[str, Any]) -> None:
        cluster = {"server": self._plane.url, "certificate-authority": str(self._plane.ca)}
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "lab", "user": "me"}}],
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "me", "user": user}],
        }))  # fmt: skip

    def renew(self) -> None:
        """An account of that name, and a token of it in the file, replaced at once as a kubelet does it."""
        self._api.create(self._path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op"}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        new = self._token.with_suffix(".new")
        new.write_text(self._api.create(f"{self._path}/op/token", request)["status"]["token"])
        new.replace(self._token)

    def invalidate(self) -> None:
        """Tokens of an account that is gone are none."""
        self._api.delete(f"{self._path}/op")

    def _bind(self, namespace: str) -> None:
        rules: list[dict[str, Any]] = [
            {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)} for rule in RULES
        ]
        rules.append({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]})
        head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "op"}}
        self._api.create(f"{RBAC}/{namespace}/roles", {**head, "kind": "Role", "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "op"}
        subjects = [{"kind": "ServiceAccount", "name": "op", "namespace": namespace}]
        self._api.create(f"{RBAC}/{namespace}/rolebindings", {**head, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects})


@pytest.mark.parametrize("way", ["file", "plugin"])
def test_a_token_that_was_replaced_is_found(control_plane: ControlPlane, crew: Operators, tmp_path: Path, way: str) -> None:
    """Without a restart, by our own connection and by kopf's, though both are refused for a while before."""
    account = Account(control_plane, crew.namespace, tmp_path)
    if way == "plugin":
        account.by_plugin(tmp_path)
    operator = crew.start(kubeconfig=account.kubeconfig).leading()
    control_plane.api.create(CLUSTERS.format(crew.namespace), cluster("first"))
    crew.until_acts(operator, ACTS_SECONDS)
    account.invalidate()
    operator.until("does not know who is calling")
    kopf_refused = time.monotonic() + REFUSED_SECONDS
    wait_for(lambda: time.monotonic() > kopf_refused, "kopf's watches end as well", 2 * REFUSED_SECONDS)
    account.renew()
    control_plane.api.create(CLUSTERS.format(crew.namespace), cluster("second"))
    status = f"{CLUSTERS.format(crew.namespace)}/second"
    wait_for(lambda: bool(control_plane.api.get(status).get("status")), "the second cluster has a status", 120)
    assert operator.process.running
    assert operator.live.status_code == 200
    assert operator.metric('matrix_api_calls_total{code="401",method="PATCH"}') > 0
