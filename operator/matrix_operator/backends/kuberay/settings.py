"""What the site decides for all clusters, not the user: the operator reads it once at its start (chart values)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from matrix_crds.cluster import MatrixCluster, ModelCache, Storage


@dataclass(frozen=True)
class Accelerator:
    """How the machines with one type of accelerator are found."""

    node_labels: Mapping[str, str]
    """The pods' nodeSelector, such as {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}."""
    resource: str | None = None
    """What a pod asks for, such as nvidia.com/gpu; default: the site's `gpu_resource`."""


@dataclass(frozen=True)
class KubeRaySettings:
    """Settings of the backend. A change never makes running nodes anew: only pods of clusters that are made later have it."""

    image: str
    """The image of all nodes whose manifest names none: the operator's own version of it."""
    ray_images: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Other images, by the version of Ray that is in them: for clusters with that `ray.version` whose manifest names none."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    """What a pod with `gpu` asks for."""
    accelerators: Mapping[str, Accelerator] = field(default_factory=lambda: MappingProxyType({}))
    """By Ray's name of the type, such as H100."""
    run_as_user: int = 1000
    """The uid and gid of all processes in the pods: never root (Pod Security Standard "restricted")."""
    drain_seconds: int = 300
    """How long a worker that is deleted may go on at most: what is more than a model's drainSeconds + 15 is for its replicas to start
    elsewhere before those on the worker take no more requests."""
    model_cache: ModelCache | None = None
    """Where clusters keep model files whose manifest does not say it; a claim is one of the cluster's namespace."""
    storage: Storage | None = None
    """Where the results of clusters go whose manifest does not say it."""

    def over(self, cluster: MatrixCluster) -> MatrixCluster:
        """With what the site decides where its manifest says nothing. For clusters that are made now: what runs stays as it is."""
        spec = cluster.spec
        volumes = {"model_cache": spec.model_cache or self.model_cache, "storage": spec.storage or self.storage}
        return cluster.model_copy(update={"spec": spec.model_copy(update=volumes)})
