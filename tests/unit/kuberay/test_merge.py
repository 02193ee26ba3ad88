"""What is written over a RayCluster that is there: properties, and the rows of what KubeRay and its autoscaler do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_operator.backends.kuberay.merge import keeps_templates, merged_groups, updated
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.render import ray_cluster
from matrix_operator.backends.kuberay.sizes import sizes
from matrix_operator.backends.kuberay.victims import WorkerPod, named_victims, worker_pods
from tests.unit.kuberay.builders import SETTINGS, START, allocation, cluster, ending, live, pod

FIXED = {"workerGroups": [{"name": "w", "replicas": 2}]}
SCALING = {"workerGroups": [{"name": "w", "autoscale": {"min": 0, "max": 16}}]}


def scaled(of: Object, replicas: int, *, victims: list[str] | None = None, index: int = 0) -> Object:
    """As Ray's autoscaler leaves it."""
    groups = list(of["spec"]["workerGroupSpecs"])
    groups[index] = (
        groups[index] | {"replicas": replicas} | ({"scaleStrategy": {"workersToDelete": victims}} if victims is not None else {})
    )
    return of | {"spec": of["spec"] | {"workerGroupSpecs": groups}}


def group(of: Object | None, index: int = 0) -> Object:
    assert of is not None
    return dict(of["spec"]["workerGroupSpecs"][index])


def victims(of: Object | None) -> list[str]:
    return list(group(of).get("scaleStrategy", {}).get("workersToDelete", []))


def fixed(replicas: int) -> MatrixCluster:
    return cluster({"workerGroups": [{"name": "w", "replicas": replicas}]})


# --- nothing to do ---


def test_a_cluster_that_is_as_it_should_be_is_not_written() -> None:
    for spec in (FIXED, SCALING, {}, {"suspend": True}, {"backend": {"kubernetes": {"queueName": "q"}}}, {"deletionPolicy": "Orphan"}):
        of = cluster(spec)
        assert updated(live(of), of, (), None) is None


def test_what_the_api_server_and_others_add_is_not_written_again() -> None:
    of = cluster(FIXED)
    found = live(of)
    found["metadata"]["labels"]["team"] = "vision"
    found["metadata"]["ownerReferences"].append({"kind": "Other", "uid": "other"})
    found["spec"]["workerGroupSpecs"][0] |= {"numOfHosts": 1, "scaleStrategy": {}, "priority": 0}
    assert updated(found, of, (), None) is None


def test_a_write_carries_the_resource_version_that_was_read_and_no_status() -> None:
    written = updated(live(fixed(1), status={"state": "ready"}), fixed(2), (), None)
    assert written is not None
    assert written["metadata"]["resourceVersion"] == "7"
    assert "status" not in written


# --- groups that Ray's autoscaler sizes ---


def test_a_group_that_was_scaled_to_seven_stays_at_seven() -> None:
    of = cluster(SCALING)
    assert updated(scaled(live(of), 7, victims=["gone"]), of, (), None) is None


def test_new_bounds_are_written_beside_the_live_number_and_the_autoscalers_victims() -> None:
    written = group(
        updated(
            scaled(live(cluster(SCALING)), 7, victims=["a"]), cluster({"workerGroups": [{"name": "w", "autoscale": {"max": 3}}]}), (), None
        )
    )
    assert (written["replicas"], written["maxReplicas"], written["scaleStrategy"]) == (7, 3, {"workersToDelete": ["a"]})


def test_the_longest_idle_time_is_that_of_the_whole() -> None:
    groups = [
        {"name": "w", "autoscale": {"max": 3, "idleTimeoutSeconds": 60}},
        {"name": "v", "autoscale": {"max": 3, "idleTimeoutSeconds": 90}},
    ]
    written = updated(live(cluster(SCALING)), cluster({"workerGroups": groups}), (), None)
    assert written is not None
    assert written["spec"]["autoscalerOptions"]["idleTimeoutSeconds"] == 90
    assert group(written)["idleTimeoutSeconds"] == 60


def test_an_autoscaler_that_is_held_back_leaves_the_group_as_it_is() -> None:
    """KubeRay refuses the whole RayCluster when a group has an idle time and autoscaler v2 is off."""
    assert updated(live(cluster(FIXED)), cluster(SCALING), (), None) is None


def test_a_group_that_no_longer_scales_has_the_number_of_the_spec() -> None:
    written = group(updated(scaled(live(cluster(SCALING)), 7), fixed(2), (), None))
    assert (written["replicas"], written["minReplicas"], written["maxReplicas"]) == (2, 2, 2)
    assert "idleTimeoutSeconds" not in written


@given(replicas=st.integers(0, 50), low=st.integers(0, 20), more=st.integers(1, 20), others=st.integers(0, 5))
def test_a_live_number_of_an_autoscaled_group_is_never_lowered(replicas: int, low: int, more: int, others: int) -> None:
    of = cluster({"workerGroups": [{"name": "w", "autoscale": {"min": low, "max": low + more}}, {"name": "v", "replicas": others}]})
    found = scaled(live(cluster(SCALING)), replicas)
    written = updated(found, of, (), None) or found
    assert group(written)["replicas"] == replicas


# --- groups of fixed size ---


def test_growing_names_nobody() -> None:
    written = group(updated(live(fixed(1)), fixed(3), worker_pods([pod("w-a", group="w")]), None))
    assert (written["replicas"], written["minReplicas"], written["maxReplicas"]) == (3, 3, 3)
    assert "scaleStrategy" not in written


def test_shrinking_names_its_victims_together_with_the_lower_number() -> None:
    """Left to itself KubeRay has ended the ready worker and kept the one that no machine takes."""
    pods = worker_pods([pod("w-ready", group="w", made=1), pod("w-pending", group="w", ready=False, made=1)])
    written = updated(live(fixed(2)), fixed(1), pods, None)
    assert group(written)["replicas"] == 1
    assert victims(written) == ["w-pending"]


def test_a_list_stays_while_its_pods_end_and_is_cleared_when_they_are_gone() -> None:
    """KubeRay counts a pod that ends as running: a list that is cleared too early costs another worker."""
    of = fixed(1)
    stays, leaves = pod("w-stays", group="w"), pod("w-leaves", group="w")
    named = scaled(live(of), 1, victims=["w-leaves"])
    assert updated(named, of, worker_pods([stays, leaves]), None) is None
    assert updated(named, of, worker_pods([stays, ending(leaves)]), None) is None
    cleared = updated(named, of, worker_pods([stays]), None)
    assert victims(cleared) == []
    assert cleared is not None and updated(cleared, of, worker_pods([stays]), None) is None


def test_a_pod_that_ends_by_another_hand_is_what_a_smaller_group_gives_up() -> None:
    """Its machine is drained, or dead, and the number is lowered to what is left: KubeRay would delete one that works."""
    of, leaves = fixed(2), ending(pod("w-dead", group="w"))
    pods = worker_pods([leaves, pod("w-a", group="w"), pod("w-b", group="w")])
    assert updated(live(fixed(3)), fixed(3), pods, None) is None
    written = updated(live(fixed(3)), of, pods, None)
    assert (group(written)["replicas"], victims(written)) == (2, ["w-dead"])
    assert written is not None and updated(written, of, pods, None) is None
    assert victims(updated(written, of, pods[1:], None)) == []


def test_who_is_wanted_again_before_he_has_gone_is_named_no_more() -> None:
    pods = worker_pods([pod("w-a", group="w"), pod("w-b", group="w")])
    written = updated(scaled(live(fixed(1)), 1, victims=["w-b"]), fixed(2), pods, None)
    assert group(written)["replicas"] == 2
    assert victims(written) == []


def test_a_bound_that_somebody_else_has_lowered_is_set_right() -> None:
    found = live(fixed(4))
    found["spec"]["workerGroupSpecs"][0]["maxReplicas"] = 2
    assert group(updated(found, fixed(4), (), None))["maxReplicas"] == 4


def test_a_group_that_is_not_wanted_any_more_is_emptied_and_not_dropped() -> None:
    """KubeRay looks at the groups of the spec alone: pods of one that is not in it stay for ever."""
    pods = worker_pods([pod("w-a", group="w")])
    written = updated(live(fixed(1)), cluster({}), pods, None)
    assert (group(written)["replicas"], group(written)["minReplicas"], group(written)["maxReplicas"]) == (0, 0, 0)
    assert victims(written) == ["w-a"]
    assert written is not None and updated(written, cluster({}), pods, None) is None


def test_a_group_stays_while_the_one_that_takes_its_place_is_held_back() -> None:
    """Under another name, say: its workers would go, and no others come."""
    found, renamed = live(fixed(2)), cluster({"workerGroups": [{"name": "v", "replicas": 2}]})
    pods = worker_pods([pod("w-a", group="w"), pod("w-b", group="w")])
    assert updated(found, renamed, pods, None) is None
    anew = updated(found, renamed, pods, ray_cluster(renamed, SETTINGS, allocation(renamed)))
    assert (group(anew, 0)["replicas"], victims(anew)) == (0, ["w-a", "w-b"])
    assert (group(anew, 1)["groupName"], group(anew, 1)["replicas"]) == ("v", 2)


def test_the_others_are_scaled_while_a_group_is_held_back() -> None:
    both = cluster({"workerGroups": [{"name": "w", "replicas": 2}, {"name": "old", "replicas": 3}]})
    wanted = cluster({"workerGroups": [{"name": "w", "replicas": 5}, {"name": "new", "replicas": 3}]})
    written = updated(live(both), wanted, (), None)
    assert [(each["groupName"], each["replicas"]) for each in (group(written, 0), group(written, 1))] == [("w", 5), ("old", 3)]


_POD = st.builds(
    WorkerPod,
    name=st.uuids().map(str),
    group=st.just("w"),
    created=st.integers(0, 1000).map(lambda seconds: START + timedelta(seconds=seconds)),
    ready=st.booleans(),
    idle=st.booleans(),
    ending=st.booleans(),
)
_PODS = st.lists(_POD, max_size=8, unique_by=lambda each: each.name)


@given(pods=_PODS, wanted=st.integers(0, 8))
def test_victims_are_the_surplus_and_never_a_busy_one_while_another_will_do(pods: list[WorkerPod], wanted: int) -> None:
    named = named_victims(pods, wanted, ())
    assert len(named) == max(len(pods) - wanted, 0), "KubeRay chooses nobody"
    staying = [each for each in pods if not each.ending]
    assert len({each.name for each in staying} & set(named)) == max(len(staying) - wanted, 0), "it makes nobody anew"
    busy = {each.name for each in staying if each.ready and not each.idle}
    if busy & set(named):
        assert {each.name for each in staying} - busy <= set(named)


@given(pods=_PODS, wanted=st.integers(0, 8), before=st.integers(0, 8), data=st.data())
def test_a_merge_of_a_merge_is_the_merge(pods: list[WorkerPod], wanted: int, before: int, data: st.DataObject) -> None:
    old = data.draw(st.lists(st.sampled_from([each.name for each in pods]), unique=True)) if pods else []
    found = scaled(live(fixed(before)), before, victims=old)["spec"]["workerGroupSpecs"]
    once = merged_groups(found, sizes(fixed(wanted).spec), pods, None, autoscaler=False)
    assert merged_groups(once, sizes(fixed(wanted).spec), pods, None, autoscaler=False) == once


# --- suspend, owner ---


def test_suspend_is_written_unless_it_is_kueues() -> None:
    written = updated(live(cluster({})), cluster({"suspend": True}), (), None)
    assert written is not None and written["spec"]["suspend"] is True
    queued = cluster({"backend": {"kubernetes": {"queueName": "q"}}})
    for kueues in (True, False):
        assert updated(live(queued, suspend=kueues), queued, (), None) is None


def test_orphaning_takes_our_ownership_away_and_leaves_that_of_others() -> None:
    found = live(cluster({}))
    found["metadata"]["ownerReferences"].append({"kind": "Other", "uid": "other"})
    written = updated(found, cluster({"deletionPolicy": "Orphan"}), (), None)
    assert written is not None
    assert written["metadata"]["ownerReferences"] == [{"kind": "Other", "uid": "other"}]
    back = updated(written, cluster({}), (), None)
    assert back is not None
    assert [owner["uid"] for owner in back["metadata"]["ownerReferences"]] == ["other", cluster().metadata.uid]


# --- templates ---

CHANGED = {"workerGroups": [{"name": "w", "replicas": 2, "resources": {"cpu": 8}}]}


def other_allocation(spec: dict[str, Any]) -> Allocation:
    return allocation(cluster(spec))


def test_a_changed_template_is_kept_out_until_the_allocation_has_it() -> None:
    found, wanted = live(cluster(FIXED)), cluster(CHANGED)
    assert keeps_templates(found, wanted, other_allocation(FIXED))
    assert not keeps_templates(found, wanted, other_allocation(CHANGED))
    assert keeps_templates(live(wanted), wanted, other_allocation(CHANGED))


def test_a_scale_goes_through_while_a_template_is_held_back() -> None:
    found = live(cluster(FIXED))
    wanted = cluster({"workerGroups": [{"name": "w", "replicas": 5, "resources": {"cpu": 8}}, {"name": "new"}]})
    written = updated(found, wanted, (), None)
    assert group(written)["replicas"] == 5
    assert group(written)["template"] == group(found)["template"]
    assert written is not None and len(written["spec"]["workerGroupSpecs"]) == 1


def test_another_image_or_rendering_of_a_later_operator_is_never_written() -> None:
    found = live(cluster(FIXED))
    found["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "example.org/matrix:0.0.9"
    of = cluster(FIXED)
    assert keeps_templates(found, of, allocation(of))
    assert updated(found, of, (), None) is None


def test_templates_are_not_touched_while_kueue_has_admitted_the_cluster() -> None:
    queue = {"backend": {"kubernetes": {"queueName": "q"}}}
    found, wanted = live(cluster(FIXED | queue)), cluster(CHANGED | queue)
    assert keeps_templates(found | {"spec": found["spec"] | {"suspend": False}}, wanted, allocation(wanted))
    assert not keeps_templates(found | {"spec": found["spec"] | {"suspend": True}}, wanted, allocation(wanted))


def test_templates_that_are_taken_come_whole_with_their_hash_and_leave_live_numbers() -> None:
    more = {"workerGroups": [*SCALING["workerGroups"], {"name": "new"}], "head": {"resources": {"cpu": 8}}}
    found, wanted = scaled(live(cluster(SCALING)), 7), cluster(more)
    rendered = ray_cluster(wanted, SETTINGS, allocation(wanted))
    written = updated(found, wanted, (), rendered)
    assert written is not None
    assert written["spec"]["headGroupSpec"] == rendered["spec"]["headGroupSpec"]
    assert [entry["replicas"] for entry in written["spec"]["workerGroupSpecs"]] == [7, 1]
    assert written["metadata"]["annotations"] == rendered["metadata"]["annotations"]
    assert updated(written, wanted, (), rendered) is None
