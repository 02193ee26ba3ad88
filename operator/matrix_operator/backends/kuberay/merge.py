"""What to write over a RayCluster that is there. Pure: read, modify, write, under the resourceVersion that was read.

`workerGroupSpecs` is one value to the API server (an atomic list), and `replicas` in it defaults to 0: to apply a group without the live
number would end all workers that Ray's autoscaler has started. So groups are changed in a copy of what is there, field by field.
Templates are not touched, unless they are to be taken (see `keeps_templates`): no pod that comes later has another one by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_operator.backends.kuberay.names import QUEUE_LABEL, TEMPLATE_HASH_ANNOTATION, Object, owner_references
from matrix_operator.backends.kuberay.reading import annotation, at, items, label
from matrix_operator.backends.kuberay.sizes import NONE, Size, idle_timeout, sizes
from matrix_operator.backends.kuberay.template import kubernetes_of, template_hash
from matrix_operator.backends.kuberay.victims import WorkerPod, named_victims

_TEMPLATE_FIELDS = ("rayVersion", "authOptions", "headGroupSpec", "enableInTreeAutoscaling", "autoscalerOptions")


def keeps_templates(live: Object, cluster: MatrixCluster, allocation: Allocation) -> bool:
    """Whether the live templates stay: when they are what the spec says, when what the spec says is held back (the allocation does not
    have it yet), and while Kueue has admitted the cluster, since it would take the change for another workload and end this one."""
    wanted = template_hash(cluster.spec)
    if wanted == annotation(live, TEMPLATE_HASH_ANNOTATION) or wanted != allocation.template_hash:
        return True
    return bool(label(live, QUEUE_LABEL)) and not at(live, "spec", "suspend")


def updated(live: Object, cluster: MatrixCluster, workers: Iterable[WorkerPod], rendered: Object | None) -> Object | None:
    """The whole RayCluster to put in the place of `live`, or None when nothing is to be written. `rendered` is the cluster made anew when
    its templates are to be taken, else None. It keeps the resourceVersion, so a write by another in between makes the API server answer
    409: look again."""
    metadata = _metadata(live, cluster, rendered)
    spec = _spec(live, cluster, list(workers), rendered)
    if metadata == live["metadata"] and spec == live["spec"]:
        return None
    return {**{name: live[name] for name in ("apiVersion", "kind") if name in live}, "metadata": metadata, "spec": spec}


def scaled_groups(live: Object, cluster: MatrixCluster) -> list[Object]:
    """The groups that there are, of the sizes that they are to have now: as they are once what the spec says is written, or was."""
    autoscaler = bool(at(live, "spec", "enableInTreeAutoscaling"))
    return merged_groups(items(live, "spec", "workerGroupSpecs"), sizes(cluster.spec), (), None, autoscaler=autoscaler)


def merged_groups(
    live: Iterable[Object], wanted: Mapping[str, Size], workers: Iterable[WorkerPod], rendered: Iterable[Object] | None, *, autoscaler: bool
) -> list[Object]:
    """The groups to write. A group that is not wanted any more is emptied, not dropped: KubeRay leaves the pods of a dropped one
    alone. A new one comes only with the templates (`rendered`); until then those that it may stand for, as under another name, stay as
    they are. `autoscaler`: Ray's runs, or is going to."""
    live, workers = list(live), list(workers)
    known = {group["groupName"] for group in live}
    templates = None if rendered is None else {group["groupName"]: group for group in rendered}
    held_back = templates is None and not wanted.keys() <= known
    merged = [
        group
        if held_back and group["groupName"] not in wanted
        else _merged(group, wanted.get(group["groupName"], NONE), workers, templates, autoscaler)
        for group in live
    ]
    return merged + [group for name, group in (templates or {}).items() if name not in known]


def _merged(live: Object, size: Size, workers: list[WorkerPod], templates: Mapping[str, Object] | None, autoscaler: bool) -> Object:
    template = (templates or {}).get(live["groupName"])
    group = live | ({field: template[field] for field in ("rayStartParams", "template")} if template else {})
    if size.autoscaled and not autoscaler:
        return group  # held back: KubeRay refuses an idle time without the autoscaler
    if size.autoscaled:
        return {"replicas": size.replicas} | group | size.limits()  # the live number, and the autoscaler's victims
    group.pop("idleTimeoutSeconds", None)
    return group | {"replicas": size.replicas} | size.limits() | _scale_strategy(live, size, workers)


def _scale_strategy(live: Object, size: Size, workers: list[WorkerPod]) -> Object:
    """Nothing unless other pods are named: an empty list, an empty mapping and none at all are the same."""
    named: list[str] = at(live, "scaleStrategy", "workersToDelete") or []
    victims = named_victims((pod for pod in workers if pod.group == live["groupName"]), size.replicas, named)
    return {"scaleStrategy": {"workersToDelete": victims}} if set(victims) != set(named) else {}


def _spec(live: Object, cluster: MatrixCluster, workers: list[WorkerPod], rendered: Object | None) -> Object:
    spec, wanted = dict(live["spec"]), sizes(cluster.spec)
    if rendered:
        spec = {name: value for name, value in spec.items() if name not in _TEMPLATE_FIELDS}
        spec |= {name: rendered["spec"][name] for name in _TEMPLATE_FIELDS if name in rendered["spec"]}
    autoscaler = bool(spec.get("enableInTreeAutoscaling"))
    new = rendered["spec"]["workerGroupSpecs"] if rendered else None
    groups = items(live, "spec", "workerGroupSpecs")
    if groups or new:
        spec["workerGroupSpecs"] = merged_groups(groups, wanted, workers, new, autoscaler=autoscaler)
    if autoscaler and any(size.autoscaled for size in wanted.values()):
        spec["autoscalerOptions"] = {**spec.get("autoscalerOptions", {}), "idleTimeoutSeconds": idle_timeout(wanted)}
    # With a queue it is Kueue's. What is absent is False.
    if kubernetes_of(cluster.spec).queue_name is None and bool(spec.get("suspend")) != cluster.spec.suspend:
        spec["suspend"] = cluster.spec.suspend
    return spec


def _metadata(live: Object, cluster: MatrixCluster, rendered: Object | None) -> Object:
    """The owner follows deletionPolicy; owners that others have set stay."""
    metadata, uid = dict(live["metadata"]), cluster.metadata.uid
    before, ours = items(live, "metadata", "ownerReferences"), owner_references(cluster)
    if [owner["uid"] for owner in before if owner["uid"] == uid] != [owner["uid"] for owner in ours]:
        metadata["ownerReferences"] = [owner for owner in before if owner["uid"] != uid] + ours
    if rendered:
        metadata["annotations"] = {**metadata.get("annotations", {}), **rendered["metadata"]["annotations"]}
    return metadata
