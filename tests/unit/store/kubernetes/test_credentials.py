"""Credentials that change while a process runs: a token in a file, and a plugin that is a real program."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from matrix_store.errors import Unavailable
from matrix_store.kubernetes import credentials
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.credentials import CredentialsFailed, Plugin, TokenFile
from tests.lab.certificates import Authority
from tests.unit.store.support import run

V1 = "client.authentication.k8s.io/v1"


def kubeconfig(directory: Path, authority: Path | None = None, **user: Any) -> Path:
    path = directory / "config"
    cluster = {"server": "https://lab.test"} | ({"certificate-authority": str(authority)} if authority else {})
    path.write_text(yaml.safe_dump({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
    }))  # fmt: skip
    return path


def plugin(directory: Path, script: str, version: str = V1, authority: Path | None = None, **more: Any) -> Plugin:
    """The one that a kubeconfig names, with `script` as its program."""
    program = directory / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    user = {"apiVersion": version, "command": "./plugin", "interactiveMode": "Never", **more}
    opened = connect(kubeconfig=kubeconfig(directory, authority, exec=user))
    run(opened.http.aclose())
    assert isinstance(opened.auth, Plugin)
    return opened.auth


def prints(status: dict[str, Any], note: str = "") -> str:
    """A script that prints those credentials, and first does what `note` says."""
    return f"{note}\ncat <<'END'\n{json.dumps({'kind': 'ExecCredential', 'apiVersion': V1, 'status': status})}\nEND"


class Server:
    """Takes some tokens and refuses all others."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.heard: list[str] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.heard.append(request.headers.get("Authorization", ""))
        return httpx2.Response(200 if self.heard[-1].removeprefix("Bearer ") in self.good else 401)

    async def ask(self, auth: httpx2.Auth, times: int = 1) -> list[int]:
        """At the same time."""
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer), auth=auth) as http:
            return [one.status_code for one in await asyncio.gather(*(http.get("https://lab.test/") for _ in range(times)))]


@pytest.mark.parametrize("version", credentials.API_VERSIONS)
def test_a_plugin_is_run_once_for_all_that_wait_for_it(tmp_path: Path, version: str) -> None:
    auth = plugin(tmp_path, prints({"token": "t"}, f"echo run >> {tmp_path}/runs"), version)
    server = Server("t")
    assert run(server.ask(auth, 5)) == [200] * 5
    assert run(server.ask(auth)) == [200]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_token_that_is_refused_is_asked_for_anew(tmp_path: Path) -> None:
    (tmp_path / "now").write_text("old")
    auth = plugin(tmp_path, f'printf \'{{"status": {{"token": "%s"}}}}\' "$(cat {tmp_path}/now)"')
    server = Server("old")
    assert run(server.ask(auth)) == [200]
    server.good = {"new"}
    (tmp_path / "now").write_text("new")
    assert run(server.ask(auth, 3)) == [200] * 3
    server.good = set()
    assert run(server.ask(auth)) == [401]


def test_one_that_is_over_is_not_used_any_more(tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    auth = plugin(tmp_path, prints({"token": "t", "expirationTimestamp": soon}, f"echo run >> {tmp_path}/runs"))
    server = Server("t")
    assert [run(server.ask(auth)), run(server.ask(auth))] == [[200], [200]]
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_a_synchronous_client_has_it_as_well(tmp_path: Path) -> None:
    server = Server("t")
    with httpx2.Client(transport=httpx2.MockTransport(server.answer), auth=plugin(tmp_path, prints({"token": "t"}))) as http:
        assert http.get("https://lab.test/").status_code == 200


def bundle(directory: Path, times: int = 1) -> Path:
    """A file of certificate authorities."""
    path = directory / "ca.crt"
    path.write_bytes(Authority().identity.certificate * times)
    return path


def test_a_plugin_has_its_arguments_and_hears_of_the_cluster_if_it_asks_for_that(tmp_path: Path) -> None:
    heard, authority = tmp_path / "heard", bundle(tmp_path)
    note = f'echo "$KUBERNETES_EXEC_INFO" > {heard}; echo "$1 $REALM" >> {heard}'
    given = {"args": ["--as=me"], "env": [{"name": "REALM", "value": "lab"}], "provideClusterInfo": True}
    auth = plugin(tmp_path, prints({"token": "t"}, note), authority=authority, **given)
    known = authority.read_bytes()
    authority.unlink()
    assert run(Server("t").ask(auth)) == [200], "what the connection trusts was read when it was made"
    info, rest = heard.read_text().splitlines()
    assert rest == "--as=me lab"
    told = json.loads(info)
    assert (told["kind"], told["apiVersion"], told["spec"]["interactive"]) == ("ExecCredential", V1, False)
    assert told["spec"]["cluster"]["server"] == "https://lab.test"
    assert base64.b64decode(told["spec"]["cluster"]["certificate-authority-data"]) == known


def test_a_plugin_that_asks_for_nothing_is_started_whatever_there_is_to_trust(tmp_path: Path) -> None:
    """One variable takes 128 KiB (Linux, MAX_ARG_STRLEN): less than what a distribution trusts."""
    heard, authority = tmp_path / "heard", bundle(tmp_path, 500)
    assert authority.stat().st_size > 2**17
    auth = plugin(tmp_path, prints({"token": "t"}, f'echo "$KUBERNETES_EXEC_INFO" > {heard}'), authority=authority)
    assert run(Server("t").ask(auth)) == [200]
    assert json.loads(heard.read_text())["spec"] == {"interactive": False}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo please log in >&2; exit 3", "failed with exit code 3: please log in"),
        ("echo hello", "did not print an ExecCredential"),
        ("echo '{\"status\": null}'", "did not print an ExecCredential"),
        (prints({}), "neither a token nor a certificate"),
    ],
)
def test_a_plugin_that_fails_is_told_in_its_own_words(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(CredentialsFailed, match=words):
        run(Server().ask(plugin(tmp_path, script)))


def test_a_plugin_that_hangs_is_given_up_and_what_it_was_told_is_nowhere_in_the_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 0.5)
    auth = plugin(tmp_path, "echo open the page and enter ABCD >&2; exec sleep 60", args=["--client-secret=hush"])
    words = r"plugin took longer than 0\.5 s: open the page and enter ABCD; log in with its own program first"
    with pytest.raises(CredentialsFailed, match=words) as caught:
        run(Server().ask(auth))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_plugin_that_can_t_be_run_says_why_and_not_how(tmp_path: Path) -> None:
    auth = plugin(tmp_path, "", args=["--client-secret=hush"])
    (tmp_path / "plugin").chmod(0o600)
    with pytest.raises(CredentialsFailed, match=r"plugin can't be run: Permission denied$") as caught:
        run(Server().ask(auth))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_plugin_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    auth = plugin(tmp_path, "", installHint="get it at example.org")
    (tmp_path / "plugin").unlink()
    with pytest.raises(CredentialsFailed, match=rf"plugin {tmp_path}/plugin of the kubeconfig is not installed; get it at example.org"):
        run(Server().ask(auth))


def test_a_plugin_of_a_kind_that_is_not_known(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, exec={"apiVersion": "client.authentication.k8s.io/v9", "command": "p"})
    with pytest.raises(Unavailable, match=r"k8s\.io/v9; known are .*/v1 and .*/v1beta1"):
        connect(kubeconfig=file)


def test_a_token_file_is_read_again_and_may_be_missing_for_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    opened = connect(kubeconfig=kubeconfig(tmp_path, tokenFile=str(file)))
    run(opened.http.aclose())
    assert isinstance(opened.auth, TokenFile)
    server = Server("old")
    with pytest.raises(CredentialsFailed, match=f"{file} can't be read: No such file"):
        run(server.ask(opened.auth))
    file.write_text("old\n")
    assert run(server.ask(opened.auth)) == [200]
    file.unlink()
    server.good = {"new"}
    with pytest.raises(CredentialsFailed):
        run(server.ask(opened.auth))
    file.write_text("new")
    assert run(server.ask(opened.auth)) == [200]
    assert server.heard[-2:] == ["Bearer old", "Bearer new"]
