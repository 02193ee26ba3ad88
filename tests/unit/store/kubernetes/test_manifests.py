"""What an apply writes over an object that others write too."""

from __future__ import annotations

from typing import Any

from matrix_store.kubernetes.manifests import changes, creation, stored
from matrix_store.port import Raw
from tests.unit.store.kubernetes.server import cluster
from tests.unit.store.support import manifest


def managed(manager: str, *labels: str, subresource: str = "") -> Raw:
    fields: dict[str, Any] = {f"f:{label}": {} for label in labels}
    return {"manager": manager, "subresource": subresource, "fieldsV1": {"f:metadata": {"f:labels": {".": {}, **fields}}}}


def live(spec: Raw, labels: dict[str, str], *entries: Raw) -> Raw:
    return cluster("one", 7, labels=labels, managedFields=list(entries)) | {"spec": spec}


def test_labels_of_others_stay_and_ours_go_with_the_manifest() -> None:
    wanted = manifest(labels={"new": "1"})
    old = live(wanted["spec"], {"ours": "1", "kueue": "2"}, managed("matrix", "ours"), managed("kueue", "kueue"))
    assert changes(old, wanted) == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/metadata/labels", "value": {"kueue": "2", "new": "1"}},
    ]


def test_what_the_operator_wrote_to_the_status_sets_no_labels() -> None:
    wanted = manifest()
    old = live(wanted["spec"], {"a": "1"}, managed("matrix", "a", subresource="status"))
    assert changes(old, wanted) == []


def test_a_changed_spec_is_replaced_whole_at_the_version_that_was_read() -> None:
    wanted = manifest(cpu="3")
    assert changes(live({"suspend": True}, {}), wanted) == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/spec", "value": wanted["spec"]},
    ]


def test_nothing_of_the_server_s_own_is_sent() -> None:
    body = creation(manifest(uid="mine", generation=4, finalizers=["x/y"], labels={"a": "b"}) | {"status": {"summary": "up"}})
    assert body["metadata"] == {"name": "one", "namespace": "default", "labels": {"a": "b"}}
    assert set(body) == {"apiVersion", "kind", "metadata", "spec"}


def test_the_record_of_who_set_what_is_not_kept() -> None:
    assert "managedFields" not in stored(live({}, {}, managed("matrix", "a"))).raw["metadata"]
