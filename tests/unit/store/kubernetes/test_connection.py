"""Which API server, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from matrix_store.errors import Unavailable
from matrix_store.kubernetes import connection
from matrix_store.kubernetes.connection import configured, connect
from tests.unit.store.support import run


def kubeconfig(path: Path, current: str | None = "lab", **user: str) -> Path:
    contexts = [{"name": name, "context": {"cluster": name, "user": "me", "namespace": f"ns-{name}"}} for name in ("lab", "prod")]
    clusters = [{"name": name, "cluster": {"server": f"https://{name}.test:6443"}} for name in ("lab", "prod")]
    content = {"apiVersion": "v1", "kind": "Config", "contexts": contexts, "clusters": clusters, "users": [{"name": "me", "user": user}]}
    path.write_text(yaml.safe_dump(content | ({"current-context": current} if current else {})))
    return path


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", tmp_path / "no-service-account")


def test_the_current_context_is_taken_and_another_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{kubeconfig(tmp_path / 'config', token='t')}")
    opened = [connect(), connect("prod")]
    assert [(one.server, one.namespace) for one in opened] == [("https://lab.test:6443", "ns-lab"), ("https://prod.test:6443", "ns-prod")]
    for one in opened:
        run(one.http.aclose())


def test_the_usual_file_is_found(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", token="t")
    opened = connect()
    assert opened.server == "https://lab.test:6443"
    run(opened.http.aclose())


def test_no_cluster_at_all() -> None:
    with pytest.raises(Unavailable, match="no Kubernetes cluster is known here"):
        connect()


def test_a_service_account_has_one_context_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", tmp_path / "token")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "api.test")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for name, content in (("token", "t"), ("namespace", "team")):
        (tmp_path / name).write_text(content)
    assert (configured().cluster.server, configured().namespace) == ("https://api.test:443", "team")
    with pytest.raises(Unavailable, match=r"the service account: .*'nosuch' not found"):
        configured("nosuch")


def test_a_proxy_whose_address_is_none_is_told(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", token="t")
    file.write_text(file.read_text().replace("server:", "proxy-url: http://jump.test:port\n    server:"))
    with pytest.raises(Unavailable, match="can't be used: Invalid port"):
        connect(kubeconfig=file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"{tmp_path}/missing can't be read"):
        connect(kubeconfig=tmp_path / "missing")


@pytest.mark.parametrize("content", ["", "- a\n- list\n", "{", "clusters: 3\n", "\x00"])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(Unavailable, match=f"{tmp_path}/config"):
        connect(kubeconfig=tmp_path / "config")


def test_a_context_that_is_not_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nosuch"):
        connect("nosuch", kubeconfig(tmp_path / "config", token="t"))


def test_a_file_without_a_current_context(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="current"):
        connect(kubeconfig=kubeconfig(tmp_path / "config", current=None, token="t"))


def test_a_certificate_that_can_t_be_read(tmp_path: Path) -> None:
    files = {"client-certificate": str(tmp_path / "no.crt"), "client-key": str(tmp_path / "no.key")}
    with pytest.raises(Unavailable, match="credentials of context 'lab' can't be used"):
        connect(kubeconfig=kubeconfig(tmp_path / "config", **files))
