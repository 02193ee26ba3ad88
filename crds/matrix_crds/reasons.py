"""Why a condition is as it is: one enum per kind. A reason is stable (scripts compare it); the message beside it says what to do."""

from __future__ import annotations

from enum import StrEnum


class ClusterReason(StrEnum):
    """Reasons of a MatrixCluster's conditions."""

    READY = "Ready"
    PENDING = "Pending"  # nothing was started yet
    STARTING = "Starting"  # processes, pods or jobs are on their way up
    RECOVERING = "Recovering"  # something died and is being brought back
    SUSPENDED = "Suspended"
    DELETING = "Deleting"
    DELETION_STUCK = "DeletionStuck"
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED = "NotSupported"  # valid, but this version or backend has not built it
    NAME_TAKEN = "NameTaken"
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    RAY_VERSION_MISMATCH = "RayVersionMismatch"
    RUNTIME_TOO_OLD = "RuntimeTooOld"
    PORT_TAKEN = "PortTaken"
    START_FAILED = "StartFailed"
    BACKEND_UNREACHABLE = "BackendUnreachable"  # a look failed: nothing destructive happens
    DASHBOARD_UNREACHABLE = "DashboardUnreachable"
    HEAD_NOT_READY = "HeadNotReady"
    WORKERS_NOT_READY = "WorkersNotReady"
    SERVE_NOT_READY = "ServeNotReady"
    TEMPLATE_CHANGED = "TemplateChanged"  # held back by upgradePolicy
    INTERNAL_ERROR = "InternalError"


class DeploymentReason(StrEnum):
    """Reasons of a ModelDeployment's conditions."""

    READY = "Ready"
    PENDING = "Pending"  # the Serve config does not hold it yet
    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    CONVERTING = "Converting"
    LOADING = "Loading"
    SCALED_TO_ZERO = "ScaledToZero"
    ROLLING_OUT = "RollingOut"
    RECOVERING = "Recovering"  # a replica died and Serve is starting another
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED = "NotSupported"
    NAME_TAKEN = "NameTaken"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    CLUSTER_NOT_READY = "ClusterNotReady"
    STATE_UNKNOWN = "StateUnknown"  # the cluster could not be looked at
    REJECTED_BY_SERVE = "RejectedByServe"
    UNSCHEDULABLE = "Unschedulable"  # no node has what a replica asks for
    MODEL_NOT_FOUND = "ModelNotFound"
    BAD_ARGUMENTS = "BadArguments"  # the engine refused its arguments
    OUT_OF_MEMORY = "OutOfMemory"
    START_FAILED = "StartFailed"
    DELETING = "Deleting"
    INTERNAL_ERROR = "InternalError"
