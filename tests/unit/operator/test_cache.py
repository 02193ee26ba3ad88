"""What the controller goes by: the store as the watch tells it, and never behind its own writes."""

from __future__ import annotations

from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.reconcile.cache import ObjectCache
from matrix_store.port import Change, ChangeType, StoredObject

LAB = ObjectKey("MatrixCluster", "default", "lab")


def version(number: int, uid: str = "u1") -> StoredObject:
    metadata = {"name": "lab", "namespace": "default", "uid": uid, "generation": 1, "resourceVersion": str(number)}
    return StoredObject({"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": metadata, "spec": {}})


def told(cache: ObjectCache, *items: StoredObject) -> None:
    for item in items:
        cache.take(Change(ChangeType.CHANGED, item.key, item))


def known(cache: ObjectCache) -> str | None:
    stored = cache.get(LAB)
    return stored.resource_version if stored else None


def test_what_the_watch_tells_late_does_not_undo_our_own_writes() -> None:
    cache = ObjectCache()
    told(cache, version(8))
    cache.wrote(version(9))
    cache.wrote(version(11))
    told(cache, version(9), version(10))
    assert known(cache) == "11", "9 is less than 11, also where the text is not"
    told(cache, version(11), version(12))
    assert known(cache) == "12"


def test_of_another_object_of_that_name_no_version_is_old() -> None:
    cache = ObjectCache()
    told(cache, version(20))
    cache.wrote(version(30))
    cache.take(Change(ChangeType.DELETED, LAB, version(20)))
    assert known(cache) is None
    cache.wrote(version(31))
    assert known(cache) is None, "what is gone does not come back by a write that was under way"
    told(cache, version(25, "u2"))
    assert known(cache) == "25"
    told(cache, version(24, "u3"))
    assert known(cache) == "24"


def test_a_store_that_was_restored_counts_versions_from_an_earlier_one() -> None:
    cache = ObjectCache()
    told(cache, version(50))
    cache.wrote(version(60))
    told(cache, version(7))
    assert known(cache) == "7"
    told(cache, version(8))
    cache.wrote(version(9))
    assert known(cache) == "9"
