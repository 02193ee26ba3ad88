"""`matrix env` and `matrix keys`: how others come to a cluster's endpoint."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from matrix_cli.commands.env import SHELLS
from matrix_cli.commands.keys import row
from matrix_cli.exits import Exit
from matrix_cli.proxies import around_it, proxy_in_the_way
from matrix_client import api_keys
from matrix_client.api_keys import KeysFile, issue
from matrix_client.errors import KeysUnreadable
from matrix_proto.keys import KEYS_FILE, ApiKeys, digest
from tests.unit.cli.runner import run
from tests.unit.client.worlds import CHAT, LAB, World, ready

URL = "http://127.0.0.1:21000/v1"
TOKEN = "a'token"
ENDPOINTS = [{"name": "openai", "url": URL, "scope": "Machine"}, {"name": "grpc", "url": "grpc://127.0.0.1:1", "scope": "Machine"}]


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_world(world: World) -> World:
    """Its cluster has an endpoint and a token."""
    world.put(LAB, ready(endpoints=ENDPOINTS))
    world.client_token(LAB, TOKEN)
    return world


def secrets(world: World) -> Path:
    stored = world.find(LAB)
    assert stored is not None
    return world.home.cluster(stored.uid) / "secrets"


# -- env


@pytest.mark.parametrize("words", [(), ("chat",), ("mxc/lab",), ("mxd/chat",), ("lab",)])
def test_a_shell_gets_what_openai_s_clients_read(open_world: World, words: tuple[str, ...]) -> None:
    result = run(open_world, "env", *words)
    script = f'{result.stdout}\nprintf \'%s %s\' "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'

    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == f"{URL} {TOKEN}"


def test_a_model_is_found_by_the_name_that_leads_to_it(open_world: World) -> None:
    """Which is its former one while it is refused the one that it asks for."""
    open_world.put(CHAT, ready() | {"model": "small"})
    assert URL in run(open_world, "env", "small").stdout


def test_other_shells_and_programs(open_world: World) -> None:
    assert run(open_world, "env", "--shell", "fish").stdout.startswith(f"set -gx OPENAI_BASE_URL {URL}\n")
    assert run(open_world, "env", "--shell", "powershell").stdout.endswith("$env:OPENAI_API_KEY = 'a''token'\n")
    assert json.loads(run(open_world, "env", "-o", "json").stdout) == {"OPENAI_BASE_URL": URL, "OPENAI_API_KEY": TOKEN}
    assert set(SHELLS) == {"sh", "fish", "powershell"}


def test_a_proxy_that_would_stand_in_the_way_is_told_on_stderr(open_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    result = run(open_world, "env")

    assert result.stdout.count("\n") == 2
    assert "http_proxy is set" in result.stderr and "set no_proxy=127.0.0.1,localhost" in result.stderr


def test_what_is_not_ready_says_so(world: World) -> None:
    assert run(world, "env").stderr == (
        "error: MatrixCluster/lab is not ready: its endpoint has not told its address yet; see `matrix why MatrixCluster/lab`\n"
    )
    world.put(LAB, ready("False", "Starting", "the head"))
    result = run(world, "env", "chat")
    assert (result.exit_code, result.stdout) == (Exit.FAILED, "")
    assert result.stderr == "error: MatrixCluster/lab is not ready (Starting): the head; see `matrix why MatrixCluster/lab`\n"


def test_which_cluster(open_world: World, tmp_path: Path) -> None:
    unknown = run(open_world, "env", "nothing")
    open_world.put(LAB._replace(name="other"))
    several = run(open_world, "env")

    assert unknown.exit_code == Exit.NOT_FOUND
    assert unknown.stderr == "error: there is no model or cluster 'nothing'; there is chat, mxc/lab\n"
    assert (several.exit_code, several.stderr) == (Exit.INVALID, "error: which cluster? there is mxc/lab, mxc/other\n")
    assert run(open_world, "env", "mxc/lba").exit_code == Exit.NOT_FOUND
    assert run(open_world, "env", "lab").exit_code == Exit.OK


def test_no_cluster_at_all(empty: World) -> None:
    assert run(empty, "env").stderr == "error: there is no cluster; start one with `matrix up FILE`\n"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"HTTP_PROXY": "x"}, "HTTP_PROXY"),
        ({"https_proxy": "x"}, ""),
        ({"all_proxy": "x", "no_proxy": "example.org"}, "all_proxy"),
        ({"http_proxy": "x", "NO_PROXY": "localhost, 127.0.0.1"}, ""),
        ({"http_proxy": "x", "no_proxy": "*"}, ""),
    ],
)
def test_whether_a_proxy_stands_in_the_way(environ: dict[str, str], name: str) -> None:
    assert proxy_in_the_way(environ) == name
    assert not name or proxy_in_the_way(environ | {"no_proxy": around_it(environ)}) == ""


# -- keys


def issued(world: World, *words: str) -> dict[str, Any]:
    result = run(world, "keys", "issue", "-o", "json", *words)
    assert result.exit_code == Exit.OK, result.stderr
    return dict(json.loads(result.stdout))


def stored(world: World) -> ApiKeys:
    return ApiKeys.model_validate_json((secrets(world) / KEYS_FILE).read_bytes())


def test_a_key_is_shown_once_and_only_its_digest_is_kept(open_world: World) -> None:
    result = run(open_world, "keys", "issue", "--name", "alice", "--expires", "30d", "--requests-per-minute", "60")
    key = result.stdout.strip()
    (record,) = stored(open_world).keys

    assert (result.exit_code, key[:4]) == (Exit.OK, "mxk-")
    assert f"id {record.id}; it opens MatrixCluster/lab until " in result.stderr
    assert (record.digest, record.name, record.requests_per_minute) == (digest(key), "alice", 60)
    assert record.expires == record.created + timedelta(days=30)
    assert key.encode() not in (secrets(open_world) / KEYS_FILE).read_bytes()
    assert stat.S_IMODE((secrets(open_world) / KEYS_FILE).stat().st_mode) == 0o600
    assert all(
        secret not in run(open_world, "keys", "list", "-o", form).stdout for form in ("text", "json") for secret in (key, record.digest)
    )


def test_keys_are_listed_and_revoked(open_world: World) -> None:
    one, two = issued(open_world, "--name", "one"), issued(open_world, "lab")
    listed = json.loads(run(open_world, "keys", "list", "-o", "json").stdout)

    assert [record["id"] for record in listed] == [one["id"], two["id"]]
    assert run(open_world, "keys", "list").stdout.splitlines()[1].split()[:4] == [one["id"], "one", "valid", "never"]
    assert run(open_world, "keys", "revoke", one["id"]).stdout == f"{one['id']} of MatrixCluster/lab revoked\n"
    assert [key.id for key in stored(open_world).keys] == [two["id"]]
    again = run(open_world, "keys", "revoke", one["id"])
    assert (again.exit_code, len(again.stderr.splitlines())) == (Exit.NOT_FOUND, 1)


def test_a_damaged_file_of_another_cluster_does_not_keep_a_key_alive(open_world: World) -> None:
    one = issued(open_world)
    other = LAB._replace(name="a-lab")  # it is looked at first
    open_world.put(other)
    found = open_world.find(other)
    assert found is not None
    damaged = open_world.home.cluster(found.uid) / "secrets" / KEYS_FILE
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")

    assert run(open_world, "keys", "revoke", one["id"]).stdout == f"{one['id']} of MatrixCluster/lab revoked\n"
    assert stored(open_world).keys == ()
    again = run(open_world, "keys", "revoke", one["id"])
    assert (again.exit_code, again.stderr) == (Exit.FAILED, f"error: {damaged} is damaged; move it away and issue the keys anew\n")


def test_who_holds_the_lock_for_too_long_is_told_and_not_waited_for(open_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issued(open_world)
    monkeypatch.setattr(api_keys, "LOCK_SECONDS", 0.1)
    with (secrets(open_world) / ".api-keys.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run(open_world, "keys", "issue")

    assert (result.exit_code, len(result.stderr.splitlines())) == (Exit.FAILED, 1)
    assert "is being changed by another process" in result.stderr
    assert len(stored(open_world).keys) == 1


def test_no_keys_yet(open_world: World) -> None:
    result = run(open_world, "keys", "list", "lab")

    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert result.stderr == "no keys for MatrixCluster/lab; make one with `matrix keys issue`\n"


def test_a_cluster_that_was_never_started_has_no_keys(world: World) -> None:
    assert "has not been started yet" in run(world, "keys", "issue").stderr
    assert run(world, "keys", "revoke", "abc").exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    "words",
    [
        ("--expires", "0"),
        ("--expires", "99999999999d"),
        ("--expires", "soon"),
        ("--requests-per-minute", "0"),
        ("--name", "two\nlines"),
        ("--name", "x" * 101),
    ],
)
def test_nonsense_issues_nothing(open_world: World, words: tuple[str, ...]) -> None:
    result = run(open_world, "keys", "issue", *words)

    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (Exit.INVALID, "", 1)
    assert not (secrets(open_world) / KEYS_FILE).exists()


def test_a_damaged_file_is_told_and_left_alone(open_world: World) -> None:
    path = secrets(open_world) / KEYS_FILE
    path.write_text("{")
    result = run(open_world, "keys", "issue")

    assert result.exit_code == Exit.FAILED
    assert result.stderr == f"error: {path} is damaged; move it away and issue the keys anew\n"
    assert path.read_text() == "{"


def test_writers_do_not_lose_each_other_s_keys(tmp_path: Path) -> None:
    def add(number: int) -> None:
        record = issue(str(number), datetime.now(UTC))[1]
        KeysFile(tmp_path).change(lambda before: before.model_copy(update={"keys": (*before.keys, record)}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))

    assert sorted(int(key.name) for key in KeysFile(tmp_path).read().keys) == list(range(40))
    assert [path.name for path in tmp_path.iterdir() if "json" in path.name] == [KEYS_FILE]


@pytest.fixture
def closed_directory(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_can_not_be_written_to(closed_directory: Path) -> None:
    with pytest.raises(KeysUnreadable, match="can't be written to"):
        KeysFile(closed_directory).change(lambda keys: keys)


def test_a_key_that_has_ended_is_shown_as_such() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    _, key = issue("", now, 60.0)

    assert row(key, now)[1:] == ("-", "valid", "in 60s", "none", "0s")
    assert row(key, now + timedelta(minutes=3))[2:4] == ("expired", "2m ago")


def test_a_served_name_may_have_a_slash(open_world: World) -> None:
    open_world.put(CHAT, ready(), spec={**open_world.find(CHAT).raw["spec"], "model": {"servedName": "org/big"}})  # type: ignore[union-attr]

    assert run(open_world, "env", "org/big").exit_code == run(open_world, "env", "chat").exit_code == Exit.OK
