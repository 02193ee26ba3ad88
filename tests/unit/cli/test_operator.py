"""`matrix operator run`: from a command line to the operator's options. The operator itself is tested with an API server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from matrix_cli.commands import operator as command
from matrix_cli.exits import Exit
from matrix_cli.settings import Settings
from matrix_client.errors import UsageError
from tests.unit.cli.runner import run
from tests.unit.client.worlds import World


def test_without_an_image_it_says_where_to_name_one(empty: World) -> None:
    result = run(empty, "operator", "run")
    assert result.exit_code == Exit.INVALID
    assert "--image" in result.stderr


def test_what_is_wrong_with_the_settings_is_said(empty: World, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("image: x\ngpus: 4\n")
    result = run(empty, "operator", "run", "--config", str(tmp_path / "site.yaml"))
    assert result.exit_code == Exit.INVALID
    assert "gpus: there is no such setting" in result.stderr


def test_without_a_cluster_it_says_so(empty: World, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("")
    result = run(empty, "operator", "run", "--image", "x", "--kubeconfig", str(tmp_path / "kubeconfig"), *PORTS)
    assert result.exit_code == Exit.UNAVAILABLE


PORTS = ("--health-port", "0", "--metrics-port", "0")


@pytest.mark.parametrize(
    ("given", "namespaces"),
    [((), ()), (("all",), ()), (("a",), ("a",)), (("a", "b", "a"), ("a", "b"))],
)
def test_namespaces(given: tuple[str, ...], namespaces: tuple[str, ...]) -> None:
    assert command._namespaces(given) == namespaces


def test_all_leaves_no_other() -> None:
    with pytest.raises(UsageError, match="leaves no other"):
        command._namespaces(("all", "a"))


@pytest.mark.parametrize(("context", "name"), [("local", None), ("kubernetes", None), ("kubernetes/prod", "prod")])
def test_a_context_before_the_command_s_name_counts(context: str, name: str | None) -> None:
    assert command._context(Settings(context=context)) == name


def test_another_context_is_none_for_an_operator() -> None:
    with pytest.raises(UsageError, match=r"kubernetes\[/NAME\]"):
        command._context(Settings(context="slurm"))


def test_options_come_before_the_file() -> None:
    given = dict.fromkeys(("image_pull_policy", "gpu_resource", "run_as_user"))
    site = command._overriding({**given, "image": "x", "image_pull_secrets": ("a", "b"), "drain_seconds": 0})
    assert (site.image, site.image_pull_secrets, site.drain_seconds, site.gpu_resource) == ("x", ["a", "b"], 0, None)


def test_the_token_of_a_site_goes_to_stdout_alone_and_its_digest_beside_it(empty: World) -> None:
    result = run(empty, "operator", "hub-token")
    token = result.stdout.strip()
    assert result.exit_code == 0
    assert len(token.splitlines()) == 1
    assert token not in result.stderr
    assert f"tokenSha256: {hashlib.sha256(token.encode()).hexdigest()}" in result.stderr


def test_a_certificate_is_made_once(empty: World, tmp_path: Path) -> None:
    made = run(empty, "operator", "hub-certificate", tmp_path / "tls", "hub.example.org", "10.0.0.1")
    assert made.exit_code == 0
    assert f"{tmp_path}/tls/ca.crt for the sites" in made.stdout
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {"ca.crt", "tls.crt", "tls.key"}
    again = run(empty, "operator", "hub-certificate", tmp_path / "tls", "x")
    assert again.exit_code == 2
    assert "has ca.crt, tls.crt, tls.key already" in again.stderr
    assert run(empty, "operator", "hub-certificate", tmp_path / "other").exit_code == 2
