"""MatrixCluster: a Ray cluster that is started and kept alive on Kubernetes, on Slurm, or on one machine."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from matrix_crds.base import LenientModel, LocalReference, Model, Name, Resource, Status
from matrix_crds.constants import RAY_VERSION
from matrix_crds.quantity import Quantity

ShortText = Annotated[str, Field(min_length=1, max_length=253)]
Path = Annotated[str, Field(min_length=1, max_length=1024)]


class Resources(Model):
    """What one node or replica gets: requests = limits; Ray's num-cpus = ceil(cpu)."""

    cpu: Quantity = "1"
    memory: Quantity = "2Gi"
    gpu: Annotated[int, Field(ge=0, le=64)] = 0


class LocalBackend(Model):
    """This machine."""


class KubernetesBackend(Model):
    """Kubernetes, through KubeRay."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    queue_name: ShortText | None = None
    service_account_name: ShortText | None = None


class SlurmBackend(Model):
    """Slurm, through the bridge of a site. Free text lives in the site's own profile file, never in a manifest."""

    site: Name
    profile: Name = "default"


class Backend(Model):
    """Where the cluster runs: at most one; absent means the engine's default."""

    local: LocalBackend | None = None
    kubernetes: KubernetesBackend | None = None
    slurm: SlurmBackend | None = None


class Ray(Model):
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=20)] = RAY_VERSION


class Head(Model):
    """The head node. With worker groups it takes no work (num-cpus 0), without it does all of it."""

    resources: Resources = Resources(cpu="2", memory="4Gi")


class Autoscale(Model):
    """Kubernetes only for now."""

    min: Annotated[int, Field(ge=0, le=10_000)] = 0
    max: Annotated[int, Field(ge=1, le=10_000)]
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300


class WorkerGroupKubernetes(Model):
    template: Annotated[dict[str, Any], Field(max_length=32)]
    """A PodTemplateSpec fragment."""


class WorkerGroupSlurm(Model):
    partition: ShortText | None = None
    qos: ShortText | None = None
    constraint: ShortText | None = None
    time_limit_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None


class WorkerGroup(Model):
    name: Name
    replicas: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Default 1; not used with `autoscale`."""
    autoscale: Autoscale | None = None
    resources: Resources = Resources()
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", max_length=63)] | None = None
    """Ray's accelerator type, such as H100."""
    ray_resources: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(default_factory=dict, max_length=16)]
    kubernetes: WorkerGroupKubernetes | None = None
    slurm: WorkerGroupSlurm | None = None


class PersistentVolumeClaim(Model):
    claim_name: ShortText
    path: Path | None = None


class Storage(Model):
    """Where results go: exactly one. Default on one machine: the state directory."""

    uri: Annotated[str, Field(pattern=r"^(s3|gs|file)://.+", max_length=1024)] | None = None
    persistent_volume_claim: PersistentVolumeClaim | None = None


class HostPath(Model):
    path: Path


class EmptyDir(Model):
    size_limit: Quantity | None = None


class ModelCache(Model):
    """Where model files are kept: exactly one. `hostPath` on one machine is a directory."""

    persistent_volume_claim: PersistentVolumeClaim | None = None
    host_path: HostPath | None = None
    empty_dir: EmptyDir | None = None


class UpgradeType(StrEnum):
    NEVER = "Never"
    RECREATE = "Recreate"


class UpgradePolicy(Model):
    """Never: a changed template or Ray version waits (UpToDate=False) until rolled on request. Recreate: the cluster is made anew."""

    type: UpgradeType = UpgradeType.NEVER


class DeletionPolicy(StrEnum):
    DELETE = "Delete"
    ORPHAN = "Orphan"


class MatrixClusterSpec(Model):
    backend: Backend | None = None
    ray: Ray = Ray()
    head: Head = Head()
    worker_groups: Annotated[tuple[WorkerGroup, ...], Field(max_length=64)] = ()
    storage: Storage | None = None
    model_cache: ModelCache | None = None
    upgrade_policy: UpgradePolicy = UpgradePolicy()
    suspend: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE


class AllocationKind(StrEnum):
    LOCAL_PROCESSES = "LocalProcesses"
    RAY_CLUSTER = "RayCluster"
    SLURM_JOBS = "SlurmJobs"


class Allocation(LenientModel):
    """What must be remembered about the external thing that carries the cluster."""

    kind: AllocationKind
    name: str
    attempt: int = 1
    template_hash: str = ""
    started_at: datetime | None = None
    expires_at: datetime | None = None


class Workers(LenientModel):
    """`ready`: known to the backend AND alive in this session's Ray node list."""

    desired: int = 0
    ready: int = 0
    display: str = ""


class RayStatus(LenientModel):
    version: str = ""
    session_name: str = ""


class MatrixClusterStatus(Status):
    workers: Workers = Workers()
    allocation: Allocation | None = None
    credentials_ref: LocalReference | None = None
    ray: RayStatus | None = None


class ClusterCondition(StrEnum):
    READY = "Ready"
    BACKEND_REACHABLE = "BackendReachable"
    HEAD_READY = "HeadReady"
    WORKERS_READY = "WorkersReady"
    SERVE_READY = "ServeReady"
    UP_TO_DATE = "UpToDate"


class MatrixCluster(Resource):
    """A Ray cluster, declared."""

    kind: Literal["MatrixCluster"] = "MatrixCluster"
    spec: MatrixClusterSpec = MatrixClusterSpec()
    status: MatrixClusterStatus = MatrixClusterStatus()
