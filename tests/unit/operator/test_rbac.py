"""The roles as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_operator.rbac import LEASE, NEW_LEASE, OUTSIDE, RULES
from matrix_operator.rbac_generate import ROOT, main, stale, texts


def test_the_files_are_as_they_would_be_written() -> None:
    assert stale(ROOT) == []


def test_the_command_writes_them_and_finds_a_stale_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    assert {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.yaml")} == texts()
    (tmp_path / "deploy/rbac/namespaced.yaml").write_text("")
    capsys.readouterr()
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err.startswith("deploy/rbac/namespaced.yaml is stale; run: ")


def test_no_right_is_wider_than_it_must_be() -> None:
    rules = (*RULES, *OUTSIDE, LEASE, NEW_LEASE)
    assert all(verb in {"get", "list", "watch", "create", "update", "patch", "delete"} for rule in rules for verb in rule.verbs)
    secrets = next(rule for rule in rules if rule.resource == "secrets")
    assert not {"list", "watch"} & set(secrets.verbs), "whoever may list them may read all of them"
    assert all(reason for rule in rules for reason in rule.verbs.values())
    assert all(rule.rare <= set(rule.verbs) for rule in rules)
    assert len({(rule.group, rule.resource) for rule in RULES}) == len(RULES)
