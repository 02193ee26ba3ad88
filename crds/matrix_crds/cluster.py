"""MatrixCluster: a Ray cluster that is started and kept alive on Kubernetes, on Slurm, or on one machine."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from matrix_crds import patterns
from matrix_crds.base import LenientModel, Model, Name, Resource, Status, keys_like, list_map
from matrix_crds.constants import RAY_VERSION
from matrix_crds.quantity import Cpu, Memory
from matrix_crds.reasons import Documented
from matrix_crds.rules import Immutable, Rule, exactly_one, ordered, unique_names
from matrix_crds.times import Time

ShortText = Annotated[str, Field(min_length=1, max_length=253)]
ObjectName = Annotated[str, Field(pattern=patterns.OBJECT_NAME.regex, max_length=253)]
RESOURCE_NAME_LENGTH = 63
ResourceName = Annotated[str, Field(pattern=patterns.RESOURCE_NAME.regex, max_length=RESOURCE_NAME_LENGTH)]
Amount = Annotated[float, Field(ge=0, le=1_000_000)]
TEMPLATE_BYTES = 64 * 1024
"""The largest `kubernetes.template`, as JSON."""


class Resources(Model):
    """What one node or replica gets: requests = limits; Ray's num-cpus = ceil(cpu)."""

    cpu: Cpu = "1"
    """Cores, such as 4 or 500m."""
    memory: Memory = "2Gi"
    """Memory, such as 8Gi."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole GPUs."""


class HeadResources(Resources):
    """What the head node gets. It carries Ray's own processes, so it needs more than a worker by default."""

    cpu: Cpu = "2"
    """Cores, such as 4 or 500m."""
    memory: Memory = "4Gi"
    """Memory, such as 8Gi."""


class LocalBackend(Model):
    """This machine."""


class KubernetesBackend(Model):
    """Kubernetes, through KubeRay."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """The container image of all nodes; default: the one that belongs to the operator's version."""
    queue_name: ShortText | None = None
    """Kueue's LocalQueue that admits the cluster."""
    service_account_name: ObjectName | None = None
    """The pods' service account."""


class SlurmBackend(Model):
    """Slurm, through the bridge of a site. Free text lives in the site's own profile file, never in a manifest."""

    site: Name
    """The name that the site's bridge registered."""
    profile: Name = "default"
    """A profile (set-up lines, Python, directives) of the site's own file."""


class Backend(Model):
    """Where the cluster runs."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one("one-backend", "local", "kubernetes", "slurm", example="backend: {local: {}}"),)

    local: LocalBackend | None = None
    """This machine: processes of the user."""
    kubernetes: KubernetesBackend | None = None
    """Kubernetes, through KubeRay."""
    slurm: SlurmBackend | None = None
    """Jobs of a Slurm site."""


class Ray(Model):
    """Which Ray runs."""

    version: Annotated[str, Field(pattern=patterns.RAY_VERSION.regex, max_length=20)] = RAY_VERSION
    """Ray's version; it must be the one of the environment in which the nodes run."""


class Head(Model):
    """The head node. With worker groups it takes no work (num-cpus 0), without it does all of it."""

    resources: HeadResources = Field(default_factory=HeadResources)
    """What the head gets."""


class Autoscale(Model):
    """How many workers, by demand."""

    rules: ClassVar[tuple[Rule, ...]] = (ordered("min", "max", example="autoscale: {min: 0, max: 16}"),)

    min: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Workers that stay without demand."""
    max: Annotated[int, Field(ge=1, le=10_000, examples=[16])]
    """Workers at the highest demand."""
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """How long a worker is idle before it goes."""


def _small_enough(group: WorkerGroupKubernetes) -> bool:
    return len(json.dumps(group.template)) <= TEMPLATE_BYTES


class WorkerGroupKubernetes(Model):
    """What only Kubernetes knows of a worker group."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="template-size",
            path=("template",),
            cel=None,
            holds=_small_enough,
            message=f"must not be larger than {TEMPLATE_BYTES // 1024} KiB; give only what differs from the generated pod",
            example="template: {spec: {nodeSelector: {disk: fast}}}",
        ),
    )

    template: dict[str, Any] = Field(
        max_length=32,
        examples=[{"spec": {"nodeSelector": {"disk": "fast"}}}],
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    """A fragment of a PodTemplateSpec, laid over the generated one."""


class WorkerGroupSlurm(Model):
    """What only Slurm knows of a worker group."""

    partition: ShortText | None = None
    """--partition."""
    qos: ShortText | None = None
    """--qos."""
    constraint: ShortText | None = None
    """--constraint."""
    time_limit_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """--time, rounded up to minutes; default: the partition's."""


_RESERVED = ("CPU", "GPU", "memory", "object_store_memory")


class WorkerGroup(Model):
    """Workers that are alike."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="replicas-or-autoscale",
            path=("replicas",),
            cel="!(has(self.replicas) && has(self.autoscale))",
            holds=lambda group: group.replicas is None or group.autoscale is None,
            message="replicas and autoscale exclude each other; remove one of them",
            example="autoscale: {min: 0, max: 16}",
        ),
        Rule(
            name="reserved-ray-resources",
            path=("rayResources",),
            cel=" && ".join(f"!('{name}' in self.rayResources)" for name in _RESERVED),
            holds=lambda group: not any(name in group.ray_resources for name in _RESERVED),
            message=f"{', '.join(_RESERVED)} follow from resources; remove them here",
            example="rayResources: {sandbox-slots: 8}",
        ),
    )

    name: Annotated[Name, Field(examples=["gpu"])]
    """The group's name, unique in the cluster."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] | None = Field(default=None, examples=[2])
    """How many workers; 1 if neither this nor `autoscale` is given."""
    autoscale: Autoscale | None = None
    """How many workers, by demand, instead of `replicas`. Kubernetes without a queue only."""
    resources: Resources = Field(default_factory=Resources)
    """What each worker gets."""
    accelerator: Annotated[str, Field(pattern=patterns.ACCELERATOR.regex, max_length=63)] | None = None
    """Ray's accelerator type, such as H100."""
    ray_resources: dict[ResourceName, Amount] = Field(
        default_factory=dict, max_length=16, json_schema_extra=keys_like(patterns.RESOURCE_NAME, RESOURCE_NAME_LENGTH)
    )
    """Further resources that each worker offers to Ray's scheduler."""
    kubernetes: WorkerGroupKubernetes | None = None
    """What only Kubernetes knows; not used elsewhere."""
    slurm: WorkerGroupSlurm | None = None
    """What only Slurm knows; not used elsewhere."""


class PersistentVolumeClaim(Model):
    """A directory of a volume."""

    claim_name: ObjectName
    """The claim's name."""
    path: ShortText | None = None
    """A directory in the volume; default: its root."""


class Storage(Model):
    """Where results go. Default on one machine: the state directory."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one("one-storage", "uri", "persistentVolumeClaim", example='storage: {uri: "s3://bucket/lab"}'),
    )

    uri: Annotated[str, Field(pattern=patterns.STORAGE_URI.regex, max_length=1024)] | None = None
    """s3://bucket/prefix, gs://bucket/prefix or file:///directory."""
    persistent_volume_claim: PersistentVolumeClaim | None = None
    """A volume. Kubernetes only."""


class HostPath(Model):
    """A directory of the node."""

    path: Annotated[str, Field(pattern=patterns.ABSOLUTE_PATH.regex, max_length=1024)]
    """The directory, from the root on."""


class EmptyDir(Model):
    """A directory that goes with the pod."""

    size_limit: Memory | None = None
    """How much it may hold, such as 50Gi."""


class ModelCache(Model):
    """Where model files are kept."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one(
            "one-model-cache", "persistentVolumeClaim", "hostPath", "emptyDir", example="modelCache: {hostPath: {path: /data/models}}"
        ),
    )

    persistent_volume_claim: PersistentVolumeClaim | None = None
    """A volume, shared by the nodes. Kubernetes only."""
    host_path: HostPath | None = None
    """A directory of each node; on one machine and on Slurm simply a directory."""
    empty_dir: EmptyDir | None = None
    """A directory that goes with the pod. Kubernetes only."""


class UpgradeType(StrEnum):
    NEVER = "Never"
    RECREATE = "Recreate"


class UpgradePolicy(Model):
    """What happens when the template of the nodes or Ray's version changes."""

    type: UpgradeType = UpgradeType.NEVER
    """Never: the change waits (UpToDate=False) until it is rolled on request. Recreate: the cluster is made anew."""
    restarted_at: Time | None = Field(default=None, examples=[patterns.TIME.example])
    """Another time than before makes the cluster anew once, whatever the type, and takes a change that waits; set by
    `matrix rollout restart`."""


class DeletionPolicy(StrEnum):
    DELETE = "Delete"
    ORPHAN = "Orphan"


def _autoscale_possible(spec: MatrixClusterSpec) -> bool:
    backend = spec.backend
    if backend is None or all(group.autoscale is None for group in spec.worker_groups):
        return True
    return backend.kubernetes is not None and backend.kubernetes.queue_name is None


class MatrixClusterSpec(Model):
    """What is wanted."""

    immutable: ClassVar[tuple[Immutable, ...]] = (
        Immutable("backend", "the backend of a cluster can't be changed; give it as it was, or delete the cluster and make it anew"),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        unique_names("workerGroups", example="workerGroups: [{name: gpu}, {name: cpu}]"),
        Rule(
            name="autoscale-backend",
            path=("workerGroups",),
            cel="!has(self.backend) || (has(self.backend.kubernetes) && !has(self.backend.kubernetes.queueName))"
            " || self.workerGroups.all(group, !has(group.autoscale))",
            holds=_autoscale_possible,
            message="autoscale of worker groups needs the backend kubernetes without queueName; give replicas instead",
            example="replicas: 4",
        ),
        Rule(
            name="suspend-backend",
            path=("suspend",),
            cel="!(self.suspend && has(self.backend) && has(self.backend.slurm))",
            holds=lambda spec: not (spec.suspend and spec.backend is not None and spec.backend.slurm is not None),
            message="a cluster on Slurm can't be suspended; delete it and make it anew later",
            example="suspend: false",
        ),
    )

    backend: Backend | None = None
    """Where it runs: exactly one of local, kubernetes, slurm. Default: the engine's (this machine, or the operator's Kubernetes).
    Can't be changed after creation."""
    ray: Ray = Field(default_factory=Ray)
    """Which Ray runs."""
    head: Head = Field(default_factory=Head)
    """The head node."""
    worker_groups: tuple[WorkerGroup, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """The workers, in groups of equal ones; with none, the head does the work."""
    storage: Storage | None = None
    """Where results go: exactly one kind. Default on one machine: the state directory."""
    model_cache: ModelCache | None = None
    """Where model files are kept: exactly one kind."""
    upgrade_policy: UpgradePolicy = Field(default_factory=UpgradePolicy)
    """What happens when the template of the nodes or Ray's version changes."""
    suspend: bool = False
    """Stop all nodes and keep the object; false starts them again."""
    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What happens to the Ray cluster when the object is deleted: Delete ends it, Orphan leaves it running."""


class AllocationKind(StrEnum):
    LOCAL_PROCESSES = "LocalProcesses"
    RAY_CLUSTER = "RayCluster"
    SLURM_JOBS = "SlurmJobs"


class BackendKind(StrEnum):
    """What `status.backend` says."""

    LOCAL = "Local"
    KUBERNETES = "Kubernetes"
    SLURM = "Slurm"


class Allocation(LenientModel):
    """What must be remembered about the external thing that carries the cluster."""

    kind: AllocationKind
    """What it is."""
    name: str
    """Its name there."""
    attempt: int = 1
    """The how-manieth one this is."""
    template_hash: str = ""
    """Of what was applied and can't change without making nodes anew."""
    restarted_at: datetime | None = None
    """The `upgradePolicy.restartedAt` that was taken."""
    started_at: datetime | None = None
    """When it was started."""
    expires_at: datetime | None = None
    """When its time limit ends it."""


class Workers(LenientModel):
    """`ready`: known to the backend AND alive in the node list of Ray as it runs now."""

    desired: int = 0
    """How many there should be."""
    ready: int = 0
    """How many are known to the backend and alive in Ray."""
    display: str = ""
    """Both, for a table."""


class RayStatus(LenientModel):
    """The Ray that runs."""

    version: str = ""
    """Its version."""
    session_name: str = ""
    """Its session; a new one means that Ray's state is new."""


class SecretReference(LenientModel):
    """A Secret (or, on one machine, a file) of the same namespace. Its name is derived, so it may be longer than a name of ours."""

    name: str
    """Its name."""


class MatrixClusterStatus(Status):
    """What is."""

    backend: BackendKind | None = None
    """Where it runs: what `spec.backend` says, or the engine's default."""
    workers: Workers = Field(default_factory=Workers)
    """How many workers there are."""
    allocation: Allocation | None = None
    """The external thing that carries the cluster."""
    credentials_ref: SecretReference | None = None
    """The Secret with the client token."""
    ray: RayStatus | None = None
    """The Ray that runs."""


class ClusterCondition(Documented):
    """The conditions of a MatrixCluster."""

    READY = "Ready", "All of it is up: the other conditions hold"
    BACKEND_REACHABLE = "BackendReachable", "Processes, pods or jobs can be looked at; while Unknown, nothing is torn down or replaced"
    HEAD_READY = "HeadReady", "The head node runs and Ray answers"
    WORKERS_READY = "WorkersReady", "All wanted workers are alive in Ray's node list"
    SERVE_READY = "ServeReady", "Ray Serve holds what the objects of this cluster ask for"
    UP_TO_DATE = "UpToDate", "The nodes run what the spec says"


class MatrixCluster(Resource):
    """A Ray cluster that is started and kept alive: on this machine, on Kubernetes or on Slurm, from the same manifest."""

    kind: Literal["MatrixCluster"] = "MatrixCluster"
    spec: MatrixClusterSpec = Field(default_factory=MatrixClusterSpec)
    """What is wanted."""
    status: MatrixClusterStatus = Field(default_factory=MatrixClusterStatus)
    """What is; written by the controller."""
