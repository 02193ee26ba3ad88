"""The store with the resource model's own validation, which is its default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_crds.cluster import MatrixCluster
from matrix_crds.errors import ManifestError
from matrix_store.database import Database
from matrix_store.port import ApplyResult, Raw
from tests.unit.store.support import KIND, OTHER_KIND, key, manifest


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "matrix.db")
    yield database
    database.close()


def test_defaults_are_stored_and_the_object_is_typed(database: Database) -> None:
    ((made, _),) = database.objects.apply_all([manifest()])
    assert made.raw["spec"]["ray"]["version"]
    assert made.raw["spec"]["deletionPolicy"] == "Delete"
    resource = database.objects.get(key()).resource
    assert isinstance(resource, MatrixCluster)
    assert resource.spec.head.resources.cpu == "2"
    assert resource.metadata.uid == made.uid


@pytest.mark.parametrize("kind", [KIND, OTHER_KIND])
def test_what_was_stored_can_be_applied_again_unchanged(database: Database, kind: str) -> None:
    ((made, _),) = database.objects.apply_all([manifest(kind=kind, labels={"a": "b"})])
    database.objects.write_status(made.key, {"summary": "up"}, resource_version=made.resource_version)
    stored = database.objects.get(made.key)
    assert database.objects.apply_all([stored.raw]) == [(stored, ApplyResult.UNCHANGED)]


def test_a_namespace_that_is_null_or_missing_is_the_default_one(database: Database) -> None:
    ((made, _),) = database.objects.apply_all([manifest()])
    for namespace in ({"namespace": None}, {}):
        again = manifest() | {"metadata": {"name": "one", **namespace}}
        assert database.objects.apply_all([again]) == [(made, ApplyResult.UNCHANGED)]


def test_one_bad_manifest_of_several_refuses_all_and_names_the_field(database: Database) -> None:
    bad = manifest("two")
    bad["spec"]["head"]["resources"]["gpu"] = -1
    with pytest.raises(ManifestError, match=r"spec\.head\.resources\.gpu"):
        database.objects.apply_all([manifest(), bad])
    assert database.objects.list(KIND) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"kind": KIND},
        {"kind": KIND, "metadata": None},
        {"kind": KIND, "metadata": {"name": None}},
        {"kind": ["x"], "metadata": {"name": "one"}},
        manifest("\ud800"),
        manifest("x" * 1000),
        manifest() | {"kind": "Nothing"},
    ],
)
def test_nonsense_is_a_manifest_error(database: Database, nonsense: Raw) -> None:
    with pytest.raises(ManifestError):
        database.objects.apply_all([nonsense])


def test_an_object_that_no_longer_parses_is_listed_deleted_and_put_right_by_an_apply(database: Database) -> None:
    database.objects.apply_all([manifest(), manifest("two")])
    for name in ("one", "two"):
        database.connection.execute("UPDATE objects SET raw = replace(raw, '\"head\"', '\"heads\"') WHERE name = ?", (name,))
    broken, _ = database.objects.list(KIND)
    with pytest.raises(ManifestError):
        _ = broken.resource
    ((healed, result),) = database.objects.apply_all([manifest()])
    assert result is ApplyResult.CONFIGURED
    assert (healed.uid, healed.generation) == (broken.uid, 2)
    assert isinstance(healed.resource, MatrixCluster)
    assert database.objects.delete(key("two")) is None
