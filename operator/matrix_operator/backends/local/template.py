"""From a cluster's spec to what its nodes offer to Ray. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from matrix_crds.cluster import MatrixClusterSpec, Resources, WorkerGroup
from matrix_crds.quantity import whole
from matrix_crds.worker_numbers import worker_numbers
from matrix_operator.backends.local.journal import HEAD, NodeTemplate, Template

_OBJECT_STORE_MINIMUM = 75 * 2**20  # Ray refuses less (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES)
_OBJECT_STORE_MAXIMUM = 2 * 2**30


def render_template(spec: MatrixClusterSpec) -> Template:
    """With worker groups the head takes no work: its num-cpus is 0."""
    head = _node(spec.head.resources)
    return Template(
        ray_version=spec.ray.version,
        head=head.model_copy(update={"cpus": 0}) if spec.worker_groups else head,
        groups={group.name: _group(group) for group in spec.worker_groups},
    )


def hash_of(template: Template) -> str:
    """Changes only when nodes have to be made anew: what has its default is left out, so a new field does not change old hashes."""
    canonical = json.dumps(template.model_dump(by_alias=True, exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def wanted_numbers(spec: MatrixClusterSpec, template: Template, former: Mapping[str, int]) -> dict[str, int]:
    """How many workers each group of the template in force is to have, by its name; `former`: the same until now."""
    return worker_numbers(spec, {name: former.get(name, 0) for name in template.groups})


def worker_name(group: str, index: int) -> str:
    return f"{group}-{index}"


def all_nodes(template: Template, numbers: Mapping[str, int]) -> dict[str, NodeTemplate]:
    """The nodes that should run, by name, with what each offers. `numbers`: of workers, by group."""
    workers = {worker_name(name, index): node for name, node in template.groups.items() for index in range(numbers[name])}
    return {HEAD: template.head} | workers


def object_store_memory(node: NodeTemplate, shared_memory: int, nodes: int) -> int:
    """Bytes for Ray's object store, which holds little here: requests and answers go around it.

    A tenth of the node's memory, at most 2 GiB and an equal part of half of the free shared memory, at least Ray's minimum.
    """
    bound = min(node.memory // 10, _OBJECT_STORE_MAXIMUM, shared_memory // 2 // max(nodes, 1))
    return max(bound, _OBJECT_STORE_MINIMUM)


def _node(resources: Resources) -> NodeTemplate:
    return NodeTemplate(cpus=whole(resources.cpu), memory=whole(resources.memory), gpus=resources.gpu)


def _group(group: WorkerGroup) -> NodeTemplate:
    return _node(group.resources).model_copy(update={"accelerator": group.accelerator, "resources": dict(group.ray_resources)})
