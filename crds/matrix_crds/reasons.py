"""Why a condition is as it is: one enum per kind. A reason is stable (scripts compare it); the message beside it says what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Documented(StrEnum):
    """An enum whose members say what they mean: `NAME = "Wire", "meaning"`."""

    meaning: str

    def __new__(cls, wire: str, meaning: str = "") -> Self:
        member = str.__new__(cls, wire)
        member._value_ = wire
        member.meaning = meaning
        return member


class ClusterReason(Documented):
    """Reasons of a MatrixCluster's conditions."""

    READY = "Ready", "It holds"
    PENDING = "Pending", "Nothing was started yet"
    STARTING = "Starting", "Processes, pods or jobs are on their way up"
    RECOVERING = "Recovering", "Something died and is being brought back"
    SUSPENDED = "Suspended", "spec.suspend is set"
    DELETING = "Deleting", "The object is being deleted; the cluster is being torn down"
    DELETION_STUCK = "DeletionStuck", "Tearing down takes too long; the message says what is still there"
    INVALID_SPEC = "InvalidSpec", "The spec can't be carried out; nothing happens until it is changed"
    NOT_SUPPORTED = "NotSupported", "Valid, but this version or backend has not built it"
    NAME_TAKEN = "NameTaken", "Something that is not ours has the name"
    INSUFFICIENT_RESOURCES = "InsufficientResources", "The machine, quota or partition does not have what the spec asks for"
    UNSCHEDULABLE = "Unschedulable", "No node takes a pod, or Slurm holds a job; the message holds the scheduler's words"
    QUEUED = "Queued", "It waits for its turn: Kueue has not admitted the cluster yet, or Slurm has no room for a job"
    IMAGE_PULL_FAILED = "ImagePullFailed", "The nodes' image can't be pulled"
    SECRET_MISSING = "SecretMissing", "A Secret or ConfigMap that a pod needs is not there; the pod starts when it is"
    OUT_OF_MEMORY = "OutOfMemory", "A node was ended because it used more memory than it gets"
    EVICTED = "Evicted", "A pod or a job was ended to free its machine for others"
    NODE_LOST = "NodeLost", "The machine of a pod or a job does not answer any more"
    KUBERAY_SILENT = "KubeRaySilent", "KubeRay's operator has not acted on the RayCluster: it does not run, or is too old"
    RAY_VERSION_MISMATCH = "RayVersionMismatch", "spec.ray.version is not the version of the environment"
    RUNTIME_TOO_OLD = "RuntimeTooOld", "What runs in the cluster is too old for this controller"
    PORT_TAKEN = "PortTaken", "A port that is needed belongs to another process"
    START_FAILED = "StartFailed", "A node does not come up; the message holds its last lines"
    BACKEND_UNREACHABLE = "BackendUnreachable", "A look at the backend failed; nothing destructive happens until it answers"
    DASHBOARD_UNREACHABLE = "DashboardUnreachable", "Ray's REST API does not answer; nothing destructive happens until it does"
    HEAD_NOT_READY = "HeadNotReady", "It waits for the head node"
    WORKERS_NOT_READY = "WorkersNotReady", "It waits for workers"
    SERVE_NOT_READY = "ServeNotReady", "It waits for Ray Serve"
    GATEWAY_NOT_READY = "GatewayNotReady", "The cluster's one OpenAI endpoint does not answer yet, or does not any more"
    TEMPLATE_CHANGED = "TemplateChanged", "A change of the nodes is held back by spec.upgradePolicy"
    ROLLING_OUT = "RollingOut", "The nodes are being made anew"
    INTERNAL_ERROR = "InternalError", "A fault of ours; the controller's log has the trace"


class DeploymentReason(Documented):
    """Reasons of a ModelDeployment's conditions."""

    READY = "Ready", "It holds"
    PENDING = "Pending", "The Serve config does not hold it yet"
    STARTING = "Starting", "Replicas are on their way up"
    DOWNLOADING = "Downloading", "The model's files are being fetched"
    CONVERTING = "Converting", "The model's files are being converted"
    LOADING = "Loading", "The engine loads the model"
    SCALED_TO_ZERO = "ScaledToZero", "No replica is wanted"
    ROLLING_OUT = "RollingOut", "New replicas take the place of old ones"
    RECOVERING = "Recovering", "A replica died and Serve is starting another"
    INVALID_SPEC = "InvalidSpec", "The spec can't be carried out; nothing happens until it is changed"
    NOT_SUPPORTED = "NotSupported", "Valid, but this version has not built it"
    NAME_TAKEN = "NameTaken", "Another deployment of the cluster serves under that name; what runs of this one stays"
    CLUSTER_NOT_FOUND = "ClusterNotFound", "There is no MatrixCluster of that name; it revives when there is"
    CLUSTER_NOT_READY = "ClusterNotReady", "It waits for the cluster"
    STATE_UNKNOWN = "StateUnknown", "The cluster could not be looked at"
    REJECTED_BY_SERVE = "RejectedByServe", "Ray Serve refuses this entry; the last accepted one goes on serving"
    UNSCHEDULABLE = "Unschedulable", "No node has what a replica asks for"
    MODEL_NOT_FOUND = "ModelNotFound", "The model's source does not exist or can't be read"
    BAD_ARGUMENTS = "BadArguments", "The engine refused its arguments"
    OUT_OF_MEMORY = "OutOfMemory", "A replica needs more memory than it gets"
    START_FAILED = "StartFailed", "A replica does not come up; the message holds its last lines"
    DELETING = "Deleting", "The object is being deleted"
    INTERNAL_ERROR = "InternalError", "A fault of ours; the controller's log has the trace"
