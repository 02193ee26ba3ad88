"""Following the file: pure differences, pruned tombstones, and a property: what a watcher believes becomes what is listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from matrix_crds.keys import ObjectKey
from matrix_store import tombstones
from matrix_store.database import Database
from matrix_store.errors import Conflict, NotFound
from matrix_store.port import Change, ChangeType, StoredObject
from matrix_store.tombstones import Tombstone
from matrix_store.watch import Delta, changes_between
from tests.unit.store.support import KIND, OTHER_KIND, key, manifest, open_database, open_on_network


def stored(name: str, uid: str, version: int) -> StoredObject:
    metadata = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return StoredObject({"kind": KIND, "metadata": metadata})


A1, A2, B = stored("a", "u1", 1), stored("a", "u2", 5), stored("b", "u3", 3)
DELETED_A1 = Change(ChangeType.DELETED, key("a"), A1)
CHANGED_A2 = Change(ChangeType.CHANGED, key("a"), A2)


@pytest.mark.parametrize(
    ("known", "delta", "expected"),
    [
        pytest.param([], Delta(1, (), (), False), [], id="nothing"),
        pytest.param([A1], Delta(5, (B,), (), False), [Change(ChangeType.CHANGED, B.key, B)], id="one more"),
        pytest.param([A1, B], Delta(5, (), (Tombstone(4, key("a"), "u1"),), False), [DELETED_A1], id="removed"),
        pytest.param([B], Delta(5, (), (Tombstone(4, key("a"), "u1"),), False), [], id="came and went unseen"),
        pytest.param([A1], Delta(5, (A2,), (Tombstone(4, key("a"), "u1"),), False), [DELETED_A1, CHANGED_A2], id="replaced"),
        pytest.param([A2], Delta(5, (), (Tombstone(4, key("a"), "u1"),), False), [], id="an earlier one's tombstone"),
        pytest.param([A1, B], Delta(9, (B,), (), True), [DELETED_A1], id="complete: what is missing is gone"),
        pytest.param([A1, B], Delta(9, (B, A2), (), True), [DELETED_A1, CHANGED_A2], id="complete: replaced"),
        pytest.param([A1], Delta(9, (A1,), (), True), [], id="complete: the same"),
    ],
)
def test_what_is_told(known: list[StoredObject], delta: Delta, expected: list[Change]) -> None:
    assert changes_between({s.key: s for s in known}, delta) == expected


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    database = open_database(path)
    yield database
    database.close()


def test_a_watcher_that_missed_more_than_the_tombstones_tell_compares_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "KEPT", 20)
    with opened(tmp_path / "matrix.db") as database:
        database.objects.apply_all([manifest("kept"), manifest("gone")])
        watcher = database.follow(KIND)
        watcher.poll()
        database.objects.delete(key("gone"))
        for number in range(tombstones.KEPT + 1):
            database.objects.apply_all([manifest(f"n{number}")])
            database.objects.delete(key(f"n{number}"))
        assert database.connection.rows("SELECT count(*) FROM tombstones") == [(tombstones.KEPT,)]
        assert [(change.type, change.key) for change in watcher.poll()] == [(ChangeType.DELETED, key("gone"))]
        assert watcher.poll() == []


def test_replaced_twice_between_two_looks_shows_the_last(tmp_path: Path) -> None:
    with opened(tmp_path / "matrix.db") as database:
        ((first, _),) = database.objects.apply_all([manifest()])
        watcher = database.follow(KIND)
        watcher.poll()
        for _ in range(2):
            database.objects.delete(key())
            ((last, _),) = database.objects.apply_all([manifest()])
        assert watcher.poll() == [Change(ChangeType.DELETED, key(), first), Change(ChangeType.CHANGED, key(), last)]


NAMES = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from([KIND, OTHER_KIND])


class WatchAndList(RuleBasedStateMachine):
    """Two writers and two watchers, in any order; one of the watchers looks rarely. Tombstones are pruned early."""

    open = staticmethod(open_database)

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        path = Path(self.directory.name) / "matrix.db"
        self.writers = [self.open(path), self.open(path)]
        self.watchers = [(self.writers[0].follow(KIND, OTHER_KIND), {}), (self.writers[1].follow(KIND), {})]

    def teardown(self) -> None:
        for writer in self.writers:
            writer.close()
        self.directory.cleanup()

    @rule(writer=st.integers(0, 1), name=NAMES, kind=KINDS, cpu=st.sampled_from(["1", "2"]))
    def apply(self, writer: int, name: str, kind: str, cpu: str) -> None:
        try:
            self.writers[writer].objects.apply_all([manifest(name, cpu, kind=kind)])
        except Conflict:
            assert self.writers[writer].objects.get(key(name, kind=kind)).deleting

    @rule(writer=st.integers(0, 1), name=NAMES, kind=KINDS, summary=st.sampled_from(["x", "y"]))
    def report(self, writer: int, name: str, kind: str, summary: str) -> None:
        if (found := self.writers[writer].objects.find(key(name, kind=kind))) is not None:
            self.writers[writer].objects.write_status(found.key, {"summary": summary}, resource_version=found.resource_version)

    @rule(writer=st.integers(0, 1), name=NAMES, kind=KINDS, held=st.booleans())
    def hold(self, writer: int, name: str, kind: str, held: bool) -> None:
        found = self.writers[writer].objects.find(key(name, kind=kind))
        if found is not None and not (found.deleting and held):
            finalizers = ["matrix.dev/teardown"] if held else []
            self.writers[writer].objects.set_finalizers(found.key, finalizers, resource_version=found.resource_version)

    @rule(writer=st.integers(0, 1), name=NAMES, kind=KINDS)
    def delete(self, writer: int, name: str, kind: str) -> None:
        try:
            self.writers[writer].objects.delete(key(name, kind=kind))
        except NotFound:
            assert self.writers[writer].objects.find(key(name, kind=kind)) is None

    @rule(writer=st.integers(0, 1))
    def forget_tombstones(self, writer: int) -> None:
        connection = self.writers[writer].connection
        with connection.write(durable=False):
            connection.execute("UPDATE revision SET pruned = max(pruned, coalesce((SELECT max(revision) FROM tombstones), 0))")
            connection.execute("DELETE FROM tombstones")

    @rule()
    def look_rarely(self) -> None:
        self._look(1, (KIND,))

    @invariant()
    def the_one_that_always_looks_knows_what_is_listed(self) -> None:
        self._look(0, (KIND, OTHER_KIND))

    def _look(self, number: int, kinds: tuple[str, ...]) -> None:
        watcher, believed = self.watchers[number]
        for change in watcher.poll():
            believe(believed, change)
        listed = {stored.key: stored for kind in kinds for stored in self.writers[0].objects.list(kind)}
        assert believed == listed
        assert watcher.poll() == []


class WatchAndListOnANetworkFileSystem(WatchAndList):
    open = staticmethod(open_on_network)


def believe(believed: dict[ObjectKey, StoredObject], change: Change) -> None:
    """What a reader makes of a change; uids must never change under a name without a Deleted between."""
    if change.key is None:
        return
    if change.type is ChangeType.DELETED:
        assert believed.pop(change.key) == change.object
    else:
        assert change.object is not None
        assert change.key not in believed or believed[change.key].uid == change.object.uid
        believed[change.key] = change.object


_QUICK = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
TestWatchAndList = WatchAndList.TestCase
TestWatchAndList.settings = _QUICK
TestWatchAndListOnANetworkFileSystem = WatchAndListOnANetworkFileSystem.TestCase
TestWatchAndListOnANetworkFileSystem.settings = settings(_QUICK, max_examples=10)
