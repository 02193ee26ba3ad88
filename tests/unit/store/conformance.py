"""What every store must do. A subclass gives `open_store`; SQLite's is in test_sqlite_store.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime, timedelta

import pytest

from matrix_crds.keys import ObjectKey
from matrix_store.errors import Conflict, NotFound
from matrix_store.port import ApplyResult, Change, ChangeType, Event, EventType, Store
from tests.unit.store.support import KIND, OTHER_KIND, is_synced, key, manifest, run, until

FINALIZER = "matrix.dev/teardown"


class StoreConformance:
    """Each test gets a store of its own, which is empty."""

    refusal: type[Exception]
    """What the store's validator raises."""

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError

    # -- apply

    def test_a_new_object_gets_what_the_store_decides(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, result = await store.apply(manifest(labels={"a": "b"}))
                assert result is ApplyResult.CREATED
                assert made == await store.get(key())
                assert made.generation == 1
                assert len(made.uid) == 36
                assert not made.deleting
                assert made.finalizers == ()
                assert made.raw["metadata"]["labels"] == {"a": "b"}
                assert made.raw["metadata"]["creationTimestamp"].endswith("Z")

        run(body())

    def test_the_same_again_changes_nothing(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                again, result = await store.apply(manifest())
                assert (again, result) == (made, ApplyResult.UNCHANGED)

        run(body())

    def test_generation_moves_with_the_spec_only(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                first, _ = await store.apply(manifest())
                labelled, result = await store.apply(manifest(labels={"a": "b"}))
                assert result is ApplyResult.CONFIGURED
                assert (labelled.generation, labelled.uid) == (1, first.uid)
                assert labelled.resource_version != first.resource_version
                reported = await store.write_status(key(), {"summary": "x"}, resource_version=labelled.resource_version)
                assert reported.generation == 1
                changed, _ = await store.apply(manifest(cpu="3"))
                assert changed.generation == 2

        run(body())

    def test_apply_keeps_status_and_finalizers_and_drops_labels_that_are_gone(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest(labels={"a": "b"}))
                held = await store.set_finalizers(key(), [FINALIZER], resource_version=made.resource_version)
                assert held is not None
                await store.write_status(key(), {"summary": "up"}, resource_version=held.resource_version)
                after, _ = await store.apply(manifest(cpu="3") | {"status": {"summary": "a user's wish"}})
                assert after.raw["status"] == {"summary": "up"}
                assert after.finalizers == (FINALIZER,)
                assert after.raw["metadata"].get("labels", {}) == {}

        run(body())

    def test_what_the_manifest_says_of_the_store_s_own_fields_is_ignored(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest(uid="mine", generation=7, finalizers=["mine"]))
                assert made.uid != "mine"
                assert made.generation == 1
                assert made.finalizers == ()

        run(body())

    def test_a_refused_manifest_leaves_no_trace(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                with pytest.raises(self.refusal):
                    await store.apply(manifest() | {"spec": "nonsense"})
                with pytest.raises(self.refusal):
                    await store.apply(manifest("two") | {"spec": 3})
                assert list(await store.list(KIND)) == [made]

        run(body())

    def test_of_several_manifests_all_are_applied_or_none(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest("old"))
                with pytest.raises(self.refusal):
                    await store.apply_all([manifest("new"), manifest("old", cpu="5"), manifest("bad") | {"spec": 3}])
                assert list(await store.list(KIND)) == [made]
                results = await store.apply_all([manifest("new"), manifest("old")])
                assert [result for _, result in results] == [ApplyResult.CREATED, ApplyResult.UNCHANGED]
                assert [stored.key.name for stored in await store.list(KIND)] == ["new", "old"]

        run(body())

    def test_a_dry_run_tells_the_outcome_and_changes_nothing(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                would_be, result = await store.apply(manifest(cpu="3"), dry_run=True)
                assert result is ApplyResult.CONFIGURED
                assert would_be.raw["spec"]["head"]["resources"]["cpu"] == "3"
                assert (await store.apply(manifest("two"), dry_run=True))[1] is ApplyResult.CREATED
                assert list(await store.list(KIND)) == [made]

        run(body())

    # -- get and list

    def test_what_is_not_there_is_not_found(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                for call in (
                    store.get(key()),
                    store.delete(key()),
                    store.write_status(key(), {}, resource_version="1"),
                    store.set_finalizers(key(), [], resource_version="1"),
                ):
                    with pytest.raises(NotFound, match="MatrixCluster/one not found"):
                        await call

        run(body())

    def test_lists_are_of_one_kind_in_order_and_by_namespace(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                for name, namespace in (("b", "default"), ("a", "other"), ("a", "default")):
                    await store.apply(manifest(name, namespace=namespace))
                await store.apply(manifest("m", kind=OTHER_KIND))
                listed = [(s.key.namespace, s.key.name) for s in await store.list(KIND)]
                assert listed == [("default", "a"), ("default", "b"), ("other", "a")]
                assert [s.key.name for s in await store.list(KIND, "other")] == ["a"]
                assert await store.list("EvalJob") == []

        run(body())

    # -- spec

    def test_a_spec_is_replaced_alone(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest(labels={"a": "b"}))
                reported = await store.write_status(key(), {"summary": "up"}, resource_version=made.resource_version)
                spec = manifest(cpu="3")["spec"]
                changed = await store.write_spec(key(), spec, resource_version=reported.resource_version)
                assert changed == await store.get(key())
                assert (changed.generation, changed.raw["spec"]) == (2, (await store.apply(manifest(cpu="3"), dry_run=True))[0].raw["spec"])
                assert (changed.raw["status"], changed.raw["metadata"]["labels"]) == ({"summary": "up"}, {"a": "b"})
                assert await store.write_spec(key(), spec, resource_version=changed.resource_version) == changed

        run(body())

    def test_a_spec_for_another_version_is_a_conflict(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                changed, _ = await store.apply(manifest(cpu="3"))
                with pytest.raises(Conflict, match="look again"):
                    await store.write_spec(key(), manifest(cpu="4")["spec"], resource_version=made.resource_version)
                with pytest.raises(NotFound):
                    await store.write_spec(key("other"), manifest()["spec"], resource_version="1")
                with pytest.raises(self.refusal):
                    await store.write_spec(key(), "no spec", resource_version=changed.resource_version)  # type: ignore[arg-type]
                assert await store.get(key()) == changed

        run(body())

    # -- status

    def test_a_status_for_another_version_is_a_conflict(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                changed, _ = await store.apply(manifest(cpu="3"))
                with pytest.raises(Conflict, match="look again"):
                    await store.write_status(key(), {"summary": "old"}, resource_version=made.resource_version)
                assert await store.get(key()) == changed

        run(body())

    def test_a_status_is_replaced_whole_and_the_same_again_is_no_change(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                first = await store.write_status(key(), {"summary": "a", "observedGeneration": 1}, resource_version=made.resource_version)
                second = await store.write_status(key(), {"summary": "b"}, resource_version=first.resource_version)
                assert second.raw["status"] == {"summary": "b"}
                assert await store.write_status(key(), {"summary": "b"}, resource_version=second.resource_version) == second

        run(body())

    # -- finalizers and deletion

    def test_what_nothing_holds_is_removed_at_once(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                await store.apply(manifest())
                assert await store.delete(key()) is None
                with pytest.raises(NotFound):
                    await store.get(key())

        run(body())

    def test_a_finalizer_holds_a_deleted_object_until_it_is_taken_off(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                held = await store.set_finalizers(key(), [FINALIZER], resource_version=made.resource_version)
                assert held is not None and held.finalizers == (FINALIZER,)
                deleting = await store.delete(key())
                assert deleting is not None and deleting.deleting
                assert await store.delete(key()) == deleting
                reported = await store.write_status(key(), {"summary": "going"}, resource_version=deleting.resource_version)
                assert await store.set_finalizers(key(), [], resource_version=reported.resource_version) is None
                with pytest.raises(NotFound):
                    await store.get(key())

        run(body())

    def test_a_deleting_object_takes_no_new_spec_and_no_new_finalizer(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                await store.set_finalizers(key(), [FINALIZER], resource_version=made.resource_version)
                deleting = await store.delete(key())
                assert deleting is not None
                with pytest.raises(Conflict, match="being deleted"):
                    await store.apply(manifest(cpu="3"))
                with pytest.raises(Conflict, match="being deleted"):
                    await store.set_finalizers(key(), [FINALIZER, "x/y"], resource_version=deleting.resource_version)
                assert await store.get(key()) == deleting

        run(body())

    def test_finalizers_for_another_version_are_a_conflict(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                await store.apply(manifest(cpu="3"))
                with pytest.raises(Conflict):
                    await store.set_finalizers(key(), [FINALIZER], resource_version=made.resource_version)

        run(body())

    def test_a_deletion_meant_for_another_object_of_that_name_is_a_conflict(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                first, _ = await store.apply(manifest())
                await store.delete(key(), uid=first.uid)
                second, _ = await store.apply(manifest())
                assert second.uid != first.uid
                with pytest.raises(Conflict):
                    await store.delete(key(), uid=first.uid)
                assert await store.get(key()) == second

        run(body())

    # -- watch

    def test_a_watch_tells_what_there_is_then_synced_then_each_change(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                await store.apply(manifest("a"))
                await store.apply(manifest("m", kind=OTHER_KIND))
                async with watching(store, KIND) as changes:
                    first = await until(changes, is_synced)
                    assert [(c.type, c.key) for c in first] == [(ChangeType.CHANGED, key("a")), (ChangeType.SYNCED, None)]
                    changed, _ = await store.apply(manifest("a", cpu="9"))
                    assert await anext(changes) == Change(ChangeType.CHANGED, key("a"), changed)
                    reported = await store.write_status(key("a"), {"summary": "x"}, resource_version=changed.resource_version)
                    assert await anext(changes) == Change(ChangeType.CHANGED, key("a"), reported)
                    await store.delete(key("m", kind=OTHER_KIND))
                    await store.delete(key("a"))
                    assert await anext(changes) == Change(ChangeType.DELETED, key("a"), reported)

        run(body())

    def test_a_watch_of_an_empty_store_is_synced_at_once(self) -> None:
        async def body() -> None:
            async with self.open_store() as store, watching(store, KIND) as changes:
                assert [c.type for c in await until(changes, is_synced)] == [ChangeType.SYNCED]

        run(body())

    def test_a_watch_of_several_kinds_tells_of_all_of_them(self) -> None:
        async def body() -> None:
            async with self.open_store() as store, watching(store, KIND, OTHER_KIND) as changes:
                await until(changes, is_synced)
                await store.apply(manifest("m", kind=OTHER_KIND))
                assert (await anext(changes)).key == key("m", kind=OTHER_KIND)
                await store.apply(manifest("c"))
                assert (await anext(changes)).key == key("c")

        run(body())

    def test_an_object_made_anew_under_the_same_name_is_seen_as_another(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                first, _ = await store.apply(manifest())
                async with watching(store, KIND) as changes:
                    await until(changes, is_synced)
                    await store.delete(key())
                    second, _ = await store.apply(manifest())
                    told = await until(changes, lambda c: c.object is not None and c.object.uid == second.uid)
                    assert told[0].type is ChangeType.DELETED
                    assert told[0].object == first

        run(body())

    def test_two_watches_each_hear_everything(self) -> None:
        async def body() -> None:
            async with self.open_store() as store, watching(store, KIND) as one, watching(store, KIND) as two:
                await until(one, is_synced)
                await until(two, is_synced)
                made, _ = await store.apply(manifest())
                assert (await anext(one)).object == made
                assert (await anext(two)).object == made

        run(body())

    def test_the_last_state_is_never_lost(self) -> None:
        async def body() -> None:
            async with self.open_store() as store, watching(store, KIND) as changes:
                await until(changes, is_synced)
                stored, _ = await store.apply(manifest())

                async def write() -> None:
                    nonlocal stored
                    for number in range(50):
                        stored = await store.write_status(key(), {"summary": str(number)}, resource_version=stored.resource_version)

                writing = asyncio.create_task(write())
                await until(changes, lambda c: c.object is not None and c.object.raw.get("status") == {"summary": "49"})
                await writing

        run(body())

    def test_a_watch_ends_with_the_store(self) -> None:
        async def body() -> None:
            async with self.open_store() as store, watching(store, KIND) as changes:
                await until(changes, is_synced)
                following = asyncio.create_task(anext(changes, None))
                await asyncio.sleep(0)
                await store.close()
                assert await following is None

        run(body())

    # -- events

    def test_events_that_say_the_same_are_counted(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                made, _ = await store.apply(manifest())
                start = datetime(2030, 1, 1, tzinfo=UTC)
                times = [start + timedelta(seconds=second) for second in range(4)]
                for at, message in zip(times, ("up", "down", "up", "up"), strict=True):
                    await store.record(Event(made.key, made.uid, EventType.NORMAL, "Looked", message, at, at))
                assert list(await store.events(made.key)) == [
                    Event(made.key, made.uid, EventType.NORMAL, "Looked", "down", times[1], times[1], 1),
                    Event(made.key, made.uid, EventType.NORMAL, "Looked", "up", times[0], times[3], 3),
                ]

        run(body())

    def test_events_are_of_one_object_or_of_all_and_outlive_it(self) -> None:
        async def body() -> None:
            async with self.open_store() as store:
                at = datetime(2030, 1, 1, tzinfo=UTC)
                keys = [key("a"), key("b")]
                for which in keys:
                    made, _ = await store.apply(manifest(which.name))
                    await store.record(Event(which, made.uid, EventType.WARNING, "Failed", "why", at, at))
                    await store.delete(which)
                assert [event.key for event in await store.events(keys[0])] == keys[:1]
                of_all = [event.key for event in await store.events()]
                assert [which for which in of_all if which in keys] == keys, of_all  # an API server is shared with others
                assert await store.events(ObjectKey(KIND, "default", "c")) == []

        run(body())


def watching(store: Store, *kinds: str) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
    """A watch that is ended with the block."""
    return aclosing(store.watch(*kinds))  # type: ignore[type-var]
