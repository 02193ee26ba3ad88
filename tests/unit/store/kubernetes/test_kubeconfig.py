"""What kubeconfigs say, read as kubectl reads them: several files, and fields that lightkube leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.config.models import User

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.connection import configured
from matrix_store.kubernetes.kubeconfig import select


def write(path: Path, *contexts: str, current: str | None = None, **sections: dict[str, Any]) -> Path:
    """`contexts`: names, each with a cluster and a user of that name; `sections`: entries by name, such as users={"me": {...}}."""
    told: dict[str, dict[str, Any]] = {
        "context": {name: {"cluster": name, "user": name} for name in contexts},
        "cluster": {name: {"server": f"https://{name}.test"} for name in contexts},
        "user": {name: {"token": f"of {name}"} for name in contexts},
    }
    content: dict[str, Any] = {
        f"{kind}s": [{"name": name, kind: entry} for name, entry in (entries | sections.get(f"{kind}s", {})).items()]
        for kind, entries in told.items()
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content | ({"current-context": current} if current else {})))
    return path


def test_of_several_files_the_first_that_has_an_entry_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    dev = write(tmp_path / "dev", "dev", users={"ann": {"username": "ann", "password": "of dev"}})
    both = {"dev": {"server": "https://another.test"}, "prod": {"server": "https://prod.test"}}
    prod = write(tmp_path / "prod", "prod", current="prod", clusters=both, users={"ann": {"token": "of prod"}})
    mixed = {"mixed": {"cluster": "prod", "user": "ann", "namespace": "team"}}
    last = write(tmp_path / "last", current="dev", contexts=mixed)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{dev}::{prod}:{last}")

    assert configured().cluster.server == "https://prod.test", "the first one that names a current context"
    assert configured("dev").cluster.server == "https://dev.test"
    found = configured("mixed")
    assert found.user is not None
    assert (found.cluster.server, found.namespace) == ("https://prod.test", "team")
    assert (found.user.username, found.user.token) == ("ann", None), "all of the first entry, and nothing of the second"


def test_an_empty_file_among_several_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert select([tmp_path / "empty", write(tmp_path / "dev", "dev", current="dev")]).config.context_name == "dev"


def test_a_broken_file_among_several_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("users:\n- token: hush: hush\n")
    with pytest.raises(Unavailable, match=f"{tmp_path}/broken can't be read: mapping values are not allowed here .* line 2,") as caught:
        select([write(tmp_path / "dev", "dev", current="dev"), tmp_path / "broken"])
    assert "hush" not in str(caught.value)


def test_paths_are_relative_to_the_file_that_they_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = {"server": "https://one.test", "certificate-authority": "ca.crt"}
    first = write(Path("a/config"), current="one", contexts={"one": {"cluster": "c", "user": "u"}}, clusters={"c": cluster})
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/login"}
    user = {"client-certificate": "me.crt", "client-key": "/keys/me.key", "tokenFile": "token", "exec": plugin}
    second = write(Path("b/config"), users={"u": user, "v": {"exec": plugin | {"command": "login"}}})

    config = select([first, second]).config
    assert config.user is not None and config.user.exec is not None
    assert config.cluster.certificate_auth == f"{tmp_path}/a/ca.crt"
    assert (config.user.client_cert, config.user.client_key) == (f"{tmp_path}/b/me.crt", "/keys/me.key")
    assert (config.user.token_file, config.user.exec.command) == (f"{tmp_path}/b/token", f"{tmp_path}/b/bin/login")
    other = write(Path("c/config"), current="one", contexts={"one": {"cluster": "c", "user": "v"}})
    user_v = select([other, first, second]).config.user
    assert user_v is not None and user_v.exec is not None
    assert user_v.exec.command == "login", "a bare name is looked for on the PATH"


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"cluster": "gone", "user": "one"}, "there is no cluster 'gone'"),
        ({"cluster": "one", "user": "gone"}, "there is no user 'gone'"),
        ({"user": "one"}, "it names no cluster"),
        ({"cluster": "one"}, "it names no user"),
        ({"cluster": "bare", "user": "one"}, "cluster 'bare' has no server"),
    ],
)
def test_what_a_context_names_and_is_not_there_is_told_with_the_file(tmp_path: Path, context: dict[str, str], words: str) -> None:
    file = write(tmp_path / "config", "one", current="odd", contexts={"odd": context}, clusters={"bare": {}})
    with pytest.raises(Unavailable, match=f"{file}: context 'odd' can't be used: {words}"):
        select([file])


@pytest.mark.parametrize("named", [{}, {"user": "gone"}, {"user": ""}])
def test_without_tls_no_user_is_needed(tmp_path: Path, named: dict[str, str]) -> None:
    """As for what `kubectl proxy` listens at."""
    context, address = {"cluster": "p"} | named, {"server": "http://localhost:8001"}
    file = write(tmp_path / "config", current="p", contexts={"p": context}, clusters={"p": address})
    assert select([file]).config.cluster.server == "http://localhost:8001"


@pytest.mark.parametrize("server", ["http://localhost:8001", "HTTP://localhost:8001", "localhost:8001"])
def test_without_tls_no_credentials_are_shown(tmp_path: Path, server: str) -> None:
    """A token would be sent in clear, and a plugin would be run for nothing. On whose behalf calls are made is no secret."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "login"}
    secrets = {"token": "t", "tokenFile": "f", "username": "u", "password": "p", "client-certificate": "gone.crt", "exec": plugin}
    file = write(tmp_path / "config", "one", current="one", clusters={"one": {"server": server}}, users={"one": secrets | {"as": "ann"}})
    found = select([file])
    assert (found.config.user, found.headers) == (User(), (("Impersonate-User", "ann"),))


def user(tmp_path: Path, **fields: Any) -> list[Path]:
    return [write(tmp_path / "config", "one", current="one", users={"one": fields})]


def cluster(tmp_path: Path, **fields: Any) -> list[Path]:
    return [write(tmp_path / "config", "one", current="one", clusters={"one": {"server": "https://one.test"} | fields})]


def test_on_whose_behalf_calls_are_made_is_in_their_headers(tmp_path: Path) -> None:
    extra = {"reason": ["a", "b"], "example.org/why 100%": ["ü"]}
    fields = {"as": "readonly", "as-uid": "7", "as-groups": ["view", "audit"], "as-user-extra": extra}
    assert select(user(tmp_path, **fields)).headers == (
        ("Impersonate-User", "readonly"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "view"),
        ("Impersonate-Group", "audit"),
        ("Impersonate-Extra-example.org%2Fwhy%20100%25", "ü"),
        ("Impersonate-Extra-reason", "a"),
        ("Impersonate-Extra-reason", "b"),
    )
    assert select(user(tmp_path, token="t")).headers == ()


@pytest.mark.parametrize("nothing", ["", None])
def test_what_is_empty_is_not_set(tmp_path: Path, nothing: str | None) -> None:
    """As templates write it, for a kind of credentials that a user does not have. Of a plugin's variables that may be meant."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "login", "env": [{"name": "REALM", "value": ""}]}
    fields = ("token", "tokenFile", "username", "password", "client-certificate", "client-certificate-data", "client-key-data", "as")
    found = select(user(tmp_path, **dict.fromkeys(fields, nothing), exec=plugin)).config.user
    assert found is not None and found.exec is not None and found.exec.env is not None
    assert (found.exec.command, found.exec.env[0].value) == ("login", "")
    assert (found.token, found.token_file, found.client_cert_data, found.client_key_data) == (None, None, None, None)
    of_cluster = select(cluster(tmp_path, **dict.fromkeys(("certificate-authority", "insecure-skip-tls-verify"), nothing))).config.cluster
    assert (of_cluster.certificate_auth, of_cluster.insecure) == (None, False)


@pytest.mark.parametrize("field", ["as-uid", "as-groups", "as-user-extra"])
def test_nobody_is_impersonated_without_a_name(tmp_path: Path, field: str) -> None:
    value = {"as-uid": "7", "as-groups": ["view"], "as-user-extra": {"a": ["b"]}}[field]
    with pytest.raises(Unavailable, match="without `as`"):
        select(user(tmp_path, **{field: value}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"as": 7}, "as: Input should be a valid string"),
        ({"as": "x", "as-groups": "view"}, "as-groups: Input should be a valid list"),
        ({"as": "x", "as-user-extra": {"a": "b"}}, r"as-user-extra\.a: Input should be a valid list"),
        ({"token": 7}, "Expected `str"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Unavailable, match=f"context 'one' can't be used: {words}"):
        select(user(tmp_path, **fields))


def test_the_way_to_a_cluster(tmp_path: Path) -> None:
    found = select(cluster(tmp_path, **{"proxy-url": "HTTP://jump.test:3128", "tls-server-name": "kube.test"}))
    assert (found.proxy, found.server_name, found.for_plugins) == ("http://jump.test:3128", "kube.test", None)
    plain = select(cluster(tmp_path, **{"proxy-url": "", "tls-server-name": ""}))
    assert (plain.proxy, plain.server_name, plain.for_plugins) == (None, None, None)


@pytest.mark.parametrize(
    ("asks", "hears"),
    [
        (True, {"proxy-url": "HTTP://jump.test:3128", "tls-server-name": "kube.test", "config": {"realm": "lab"}}),
        (False, None),
        (None, None),
    ],
)
def test_a_plugin_hears_of_the_cluster_what_it_asks_for(tmp_path: Path, asks: bool | None, hears: dict[str, Any] | None) -> None:
    extensions = [{"name": "other", "extension": 1}, {"name": "client.authentication.k8s.io/exec", "extension": {"realm": "lab"}}]
    way = {"proxy-url": "HTTP://jump.test:3128", "tls-server-name": "kube.test", "extensions": extensions}
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "login", "provideClusterInfo": asks}
    clusters = {"one": {"server": "https://one.test"} | way}
    file = write(tmp_path / "config", "one", current="one", clusters=clusters, users={"one": {"exec": plugin}})
    assert select([file]).for_plugins == hears


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("lab.test:6443", "http://lab.test:6443"),
        ("127.0.0.1:6443", "http://127.0.0.1:6443"),
        ("[::1]:6443/", "http://[::1]:6443/"),
        ("localhost", "http://localhost"),
        ("HTTPS://lab.test:6443/k8s/clusters/a", "https://lab.test:6443/k8s/clusters/a"),
    ],
)
def test_an_address_may_be_short(tmp_path: Path, server: str, address: str) -> None:
    """As kubectl completes it, whatever else the cluster has."""
    assert select(cluster(tmp_path, server=server, **{"insecure-skip-tls-verify": True})).config.cluster.server == address


@pytest.mark.parametrize("server", ["lab.test:6443/k8s", "//lab.test:6443", "https://"])
def test_what_is_no_address_is_refused(tmp_path: Path, server: str) -> None:
    with pytest.raises(Unavailable, match=f"context 'one' can't be used: its server is neither a URL nor host:port: '{server}'"):
        select(cluster(tmp_path, server=server))


@pytest.mark.parametrize("url", ["jump.test:3128", "ftp://me:hush@jump.test", "http://"])
def test_a_proxy_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unavailable, match="proxy-url is none: it begins with http://, https://, socks5://") as caught:
        select(cluster(tmp_path, **{"proxy-url": url}))
    assert "hush" not in str(caught.value)
