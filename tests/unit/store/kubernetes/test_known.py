"""What is news: lists and events in any order end in the truth, and nothing that is there is ever told gone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from matrix_store.kubernetes.known import Known
from matrix_store.port import Change, ChangeType, StoredObject
from tests.unit.store.kubernetes.server import cluster
from tests.unit.store.support import KIND, key


def item(name: str, version: int, uid: str = "u") -> StoredObject:
    return StoredObject(cluster(name, version, uid))


def test_old_news_are_none() -> None:
    known = Known()
    assert known.present(item("a", 5)) == [Change(ChangeType.CHANGED, key("a"), item("a", 5))]
    assert known.present(item("a", 5)) == []
    assert known.present(item("a", 4)) == []


def test_an_event_from_before_the_list_brings_nothing_back() -> None:
    known = Known()
    known.present(item("a", 3))
    assert [change.type for change in known.listed(KIND, [], 9)] == [ChangeType.DELETED]
    assert known.present(item("a", 5)) == []
    assert [change.type for change in known.present(item("a", 11, "other"))] == [ChangeType.CHANGED]


def test_the_end_of_a_former_object_is_not_that_of_its_successor() -> None:
    known = Known()
    known.present(item("a", 3, "first"))
    assert [change.type for change in known.present(item("a", 6, "second"))] == [ChangeType.DELETED, ChangeType.CHANGED]
    assert known.absent(key("a"), "first") == []
    assert [change.type for change in known.absent(key("a"), "second")] == [ChangeType.DELETED]


def test_a_list_of_one_kind_says_nothing_of_another() -> None:
    known = Known()
    known.present(item("a", 3))
    assert known.listed("ModelDeployment", [], 9) == []


def test_a_store_that_was_restored_from_a_backup_counts_though_its_versions_are_lower() -> None:
    known = Known()
    known.listed(KIND, [item("a", 80), item("b", 85), item("c", 88)], 90)
    told = known.listed(KIND, [item("a", 40), item("c", 30, "former")], 50)
    assert [(change.type, change.key) for change in told] == [
        (ChangeType.DELETED, key("b")),
        (ChangeType.CHANGED, key("a")),
        (ChangeType.DELETED, key("c")),
        (ChangeType.CHANGED, key("c")),
    ]
    assert known.present(item("a", 39)) == [] and [change.type for change in known.present(item("a", 51))] == [ChangeType.CHANGED]


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12)


@given(STEPS, st.data())
def test_any_late_list_ends_in_the_truth(steps: list[tuple[str, bool]], data: Any) -> None:
    """Objects are made, changed and ended; some of that is heard of, then a list of a later version comes, then the rest is heard of."""
    truth: dict[str, StoredObject] = {}
    events: list[tuple[int, str, StoredObject]] = []
    history: list[dict[str, StoredObject]] = [{}]
    for version, (name, live) in enumerate(steps, start=1):
        if live:
            uid = truth[name].uid if name in truth else f"{name}{version}"
            truth[name] = item(name, version, uid)
            events.append((version, "live", truth[name]))
        elif name in truth:
            events.append((version, "gone", truth.pop(name)))
        history.append(dict(truth))
    listed_at = data.draw(st.integers(0, len(steps)), label="version of the list")
    heard = data.draw(st.integers(0, sum(version <= listed_at for version, _, _ in events)), label="events before it")

    known = Known()
    told: dict[str, StoredObject] = {}

    def tell(changes: list[Change]) -> None:
        for change in changes:
            assert change.key is not None and change.object is not None
            if change.type is ChangeType.DELETED:
                assert told.pop(change.key.name) == change.object
            else:
                told[change.key.name] = change.object

    def feed(what: str, stored: StoredObject) -> None:
        tell(known.present(stored) if what == "live" else known.absent(stored.key, stored.uid))

    for _, what, stored in events[:heard]:
        feed(what, stored)
    tell(known.listed(KIND, history[listed_at].values(), listed_at))
    for _, what, stored in events[heard:]:
        feed(what, stored)
    assert told == truth
