"""What is kept in memory of watched objects, and what of them."""

from __future__ import annotations

from matrix_operator.backends.kuberay.index import Index
from matrix_operator.backends.kuberay.merge import updated
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.observe import observation
from matrix_operator.backends.kuberay.rejection import rejection
from matrix_operator.backends.kuberay.removal import still_owned
from matrix_operator.backends.kuberay.sight import Sight
from matrix_operator.backends.kuberay.slim import slim_event, slim_pod, slim_ray_cluster, slim_service, writable
from tests.unit.kuberay.builders import NOW, after, cluster, condition, live, pod


def item(uid: str, place: str | None, version: int = 1) -> Object:
    return {"metadata": {"uid": uid, "labels": {"place": place}, "resourceVersion": str(version)}}


def index() -> Index:
    return Index(lambda raw: raw["metadata"]["labels"]["place"], lambda raw: {"uid": raw["metadata"]["uid"]})


def test_objects_are_found_by_what_they_belong_to() -> None:
    found = index()
    found.listed([item("a", "x"), item("b", "y"), item("c", "x")], 5)
    assert found.of("x") == ({"uid": "a"}, {"uid": "c"})
    assert found.of("nowhere") == ()
    assert len(found) == 3


def test_what_a_list_does_not_name_is_gone() -> None:
    found = index()
    found.present(item("a", "x"))
    found.listed([item("b", "x")], 9)
    assert found.of("x") == ({"uid": "b"},)


def test_an_object_may_move_or_stop_to_belong_anywhere() -> None:
    found = index()
    found.present(item("a", "x"))
    found.present(item("a", "y", 2))
    assert (found.of("x"), found.of("y")) == ((), ({"uid": "a"},))
    found.present(item("a", None, 3))
    assert (found.of("y"), len(found)) == ((), 0)
    found.absent(item("a", "y", 4))  # it was not known any more


def test_versions_change_with_each_object_that_changes_and_not_with_another_list_of_the_same() -> None:
    found = index()
    found.listed([item("a", "x"), item("b", "x"), item("c", "y")], 5)
    before = found.versions("x")
    found.listed([item("a", "x"), item("b", "x"), item("c", "y", 2)], 6)
    assert found.versions("x") == before
    seen = {before}
    for change in (
        lambda: found.present(item("a", "x", 7)),
        lambda: found.absent(item("b", "x")),
        lambda: found.present(item("d", "x", 8)),
    ):
        change()
        seen.add(found.versions("x"))
    assert len(seen) == 4
    assert found.versions("nowhere") == ()


def test_what_is_kept_is_enough_for_every_reader() -> None:
    of = cluster({"workerGroups": [{"name": "cpu", "replicas": 2}]})
    made = live(of, status={"conditions": [condition("RayClusterProvisioned")]})
    made["metadata"]["managedFields"].append({"manager": "kuberay", "fieldsV1": {"f:status": {"long": "record"}}})
    pods = [pod(), pod("lab-cpu-1", group="cpu"), pod("lab-cpu-2", group="cpu", ready=False)]
    refusal = {
        "metadata": {"uid": "e", "name": "e", "creationTimestamp": after(5), "managedFields": [{}]},
        "involvedObject": {"uid": "ray-1", "kind": "RayCluster"},
        "reason": "InvalidRayClusterSpec",
        "message": "The RayCluster spec is invalid team/lab: too odd",
        "lastTimestamp": after(5),
    }
    for entry in pods:
        entry["spec"]["containers"] = [{"name": "ray", "env": ["many"]}]
        entry["metadata"]["managedFields"] = [{"long": "record"}]
    whole = Sight(made, tuple(pods), (refusal,))
    kept = Sight(slim_ray_cluster(made), tuple(map(slim_pod, pods)), (slim_event(refusal),))
    assert observation(of, kept, NOW) == observation(of, whole, NOW)
    assert rejection(kept.ray_cluster or {}, kept.events) == rejection(made, [refusal]) == "too odd"
    assert "containers" not in kept.pods[0]["spec"]
    assert "managedFields" not in kept.pods[0]["metadata"]


def test_the_record_of_writes_is_the_servers_and_not_sent_back() -> None:
    of = cluster({"workerGroups": [{"name": "cpu", "replicas": 2}]})
    wider = cluster({"workerGroups": [{"name": "cpu", "replicas": 3}]})
    changed = updated(slim_ray_cluster(live(of)), wider, [], None)
    assert changed is not None
    assert "managedFields" in changed["metadata"]
    assert "managedFields" not in writable(changed)["metadata"]
    assert writable(changed)["metadata"]["resourceVersion"] == "7"


def test_a_service_keeps_its_owners() -> None:
    owner = {"uid": cluster().metadata.uid}
    kept = slim_service({"metadata": {"name": "s", "ownerReferences": [owner], "managedFields": [{}]}, "spec": {"clusterIP": "10.0.0.1"}})
    assert still_owned(cluster(), [kept]) == [kept]
    assert kept == {"metadata": {"name": "s", "ownerReferences": [owner]}, "spec": {}}
