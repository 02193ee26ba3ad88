from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local import places
from matrix_operator.backends.local.journal import (
    ClusterRecord,
    Journal,
    JournalUnreadable,
    LaunchPlan,
    NodePlan,
    NodeTemplate,
    PartRecord,
    Ports,
    Template,
)
from matrix_operator.backends.local.secrets import CLIENT_TOKEN, RAY_TOKEN, make_tokens, read_token
from matrix_operator.backends.port import BackendRefusal
from matrix_store.home import Home

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = NodeTemplate(cpus=1, memory=1)
CLUSTER = ClusterRecord(
    uid="u",
    name="c",
    home="/state",
    directory="/tmp/mx-1",
    ports=Ports(gcs=1, dashboard=2, state=3, directory=4, gateway=5),
    template=Template(ray_version="2.60.0", head=NODE),
    template_hash="h",
    attempt=2,
    started_at=NOW,
    environment={"A": "b"},
)
PLAN = LaunchPlan(cluster=CLUSTER, nodes=(NodePlan(name="head", template=NODE, object_store_memory=1),), attempt=1, written_at=NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Home(tmp_path), "u")


def test_what_was_put_is_read(journal: Journal) -> None:
    part = PartRecord(part="gcs", argv=("x", "--a=b c"), started_at=NOW, quick_deaths=1)
    for record in (CLUSTER, PLAN, part):
        journal.put(record)
    assert (journal.cluster(), journal.plan(), journal.parts()) == (CLUSTER, PLAN, {"gcs": part})


def test_files_are_private_and_no_draft_stays(journal: Journal) -> None:
    journal.put(CLUSTER)
    journal.put(CLUSTER)
    (file,) = journal.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(journal.directory.stat().st_mode) == 0o700


def test_nothing_is_there_at_first(journal: Journal) -> None:
    assert (journal.cluster(), journal.plan(), journal.launch(), journal.parts()) == (None, None, None, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uid": 3}', "\x00\x00"])
def test_a_corrupt_cluster_file_is_made_good_from_the_plans_copy(journal: Journal, text: str) -> None:
    journal.put(CLUSTER)
    (journal.directory / "cluster.json").write_text(text)
    assert journal.cluster() is None
    journal.put(PLAN)
    assert journal.cluster() == CLUSTER


def test_a_corrupt_part_counts_as_lost_and_the_others_are_read(journal: Journal) -> None:
    journal.put(PartRecord(part="gcs", argv=("x",), started_at=NOW))
    (journal.directory / "processes" / "raylet.json").write_text("{")
    assert journal.parts().keys() == {"gcs"}


def test_a_file_that_can_not_be_read_is_no_answer(journal: Journal) -> None:
    (journal.directory / "cluster.json").mkdir(parents=True)
    with pytest.raises(JournalUnreadable, match=r"cluster.json can't be read"):
        journal.cluster()


def test_a_field_of_a_newer_version_is_ignored(journal: Journal) -> None:
    journal.put(CLUSTER)
    path = journal.directory / "cluster.json"
    path.write_text(path.read_text().replace("{", '{"new": 1,', 1))
    assert journal.cluster() == CLUSTER


def test_forgetting_what_runs_keeps_ports_and_secrets(journal: Journal) -> None:
    for record in (CLUSTER, PLAN, PartRecord(part="gcs", argv=("x",), started_at=NOW)):
        journal.put(record)
    make_tokens(journal.secrets)
    journal.forget_processes()
    assert (journal.cluster(), journal.plan(), journal.parts()) == (CLUSTER, None, {})
    assert read_token(journal.secrets, RAY_TOKEN)


def test_tokens_are_made_once_private_and_different(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    assert read_token(secrets, RAY_TOKEN) is None
    make_tokens(secrets)
    ray, client = read_token(secrets, RAY_TOKEN), read_token(secrets, CLIENT_TOKEN)
    make_tokens(secrets)
    assert (read_token(secrets, RAY_TOKEN), read_token(secrets, CLIENT_TOKEN)) == (ray, client)
    assert ray and client and ray != client and len(ray) >= 32
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}


def test_the_temporary_directory_is_short_enough_for_rays_sockets(tmp_path: Path) -> None:
    directory = places.temporary_directory("some-uid", (tmp_path / ("long" * 20), Path("/tmp")))
    assert directory.parent == Path("/tmp") and len(str(directory)) < 30
    with pytest.raises(BackendRefusal, match="set TMPDIR to a short") as refused:
        places.temporary_directory("some-uid", (tmp_path / ("long" * 20),))
    assert refused.value.reason is ClusterReason.START_FAILED


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_temporary_directory_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "mx"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(BackendRefusal, match="remove it"):
        places.make_directory(directory)


def test_a_link_in_place_of_the_temporary_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "mx").symlink_to(tmp_path / "target")
    with pytest.raises(BackendRefusal, match="remove it"):
        places.make_directory(tmp_path / "mx")


def test_the_session_is_known_only_while_its_directory_is_there(tmp_path: Path) -> None:
    assert places.session_directory(tmp_path) is None
    session = places.ray_directory(tmp_path) / "session_1"
    session.mkdir(parents=True)
    (session.parent / "session_latest").symlink_to(session)
    assert places.session_directory(tmp_path) == session
    (session.parent / "session_latest").unlink()  # for a moment, whenever a worker of Ray's starts
    assert places.session_directory(tmp_path) == session
    session.rmdir()
    assert places.session_directory(tmp_path) is None
