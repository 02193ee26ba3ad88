"""The `#SBATCH` lines of a job. Pure. sbatch reads them word by word, so a blank would begin another option and a newline a command:
whatever comes from a manifest is checked against a pattern first, and refused, never quoted."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from matrix_crds.cluster import WorkerGroup, WorkerGroupSlurm
from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.render.errors import RenderRefusal
from matrix_slurm_bridge.render.profile import GpuDirective, ManifestDirective, ProfileDirectives
from matrix_slurm_bridge.render.sizes import NodeSize
from matrix_slurm_bridge.slurm.names import JobTag

DRAIN_NOTICE_SECONDS = 300
"""So long before its time limit a worker is told (SIGUSR1) to drain; at most NOTICE_PART of that time, where it is known: its successor has
to be there before. Slurm may be a minute early or late (22.05, measured)."""
NOTICE_PART = 1 / 8
_MEBIBYTE = 2**20
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,+@:/-]*")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_.,:&|*()\[\]-]+")
_PATH = re.compile(r"/[A-Za-z0-9_./,+@:=-]*")


def head_directives(tag: JobTag, size: NodeSize, profile: ProfileDirectives, directory: ClusterDirectory) -> list[str]:
    """Slurm never runs a head again by itself: beside the bridge's own replacement that would make two."""
    return [
        *_common(tag, size, profile, directory, profile.head_partition or profile.partition, profile.qos),
        *_time(profile.head_time_limit),
        "--no-requeue",
        *profile.extra,
    ]


def worker_directives(
    tag: JobTag, size: NodeSize, group: WorkerGroup, profile: ProfileDirectives, directory: ClusterDirectory
) -> list[str]:
    """Raises RenderRefusal."""
    own = group.slurm or WorkerGroupSlurm()
    partition = _chosen(ManifestDirective.PARTITION, own.partition, profile, group) or profile.partition
    qos = _chosen(ManifestDirective.QOS, own.qos, profile, group) or profile.qos
    constraint = _chosen(ManifestDirective.CONSTRAINT, own.constraint, profile, group)
    limit = timedelta(seconds=own.time_limit_seconds) if own.time_limit_seconds else profile.time_limit
    return [
        *_common(tag, size, profile, directory, partition, qos),
        *([f"--constraint={constraint}"] if constraint else []),
        *_time(limit),
        "--requeue",
        f"--signal=B:USR1@{_notice(limit)}",
        *profile.extra,
    ]


def _common(
    tag: JobTag, size: NodeSize, profile: ProfileDirectives, directory: ClusterDirectory, partition: str | None, qos: str | None
) -> list[str]:
    _check_bounds(tag, size, profile)
    given = {"partition": partition, "account": profile.account, "qos": qos}
    return [
        f"--job-name={tag.job_name}",
        f"--comment={tag.comment}",
        f"--output={_output(tag, directory)}",
        "--open-mode=append",
        # What sbatch was run with: the bridge gives it next to nothing. NIL and NONE would run a login on the node, a second and more.
        "--export=ALL",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={size.cpus}",
        f"--mem={math.ceil(size.memory / _MEBIBYTE)}M",
        *_gpus(size, profile),
        *(f"--{name}={value}" for name, value in given.items() if value),
    ]


def _gpus(size: NodeSize, profile: ProfileDirectives) -> list[str]:
    if not size.gpus:
        return []
    kind = f"{_gpu_type(size.accelerator, profile)}:" if size.accelerator else ""
    if profile.gpu_directive is GpuDirective.GRES:
        return [f"--gres=gpu:{kind}{size.gpus}"]
    return [f"--gpus-per-node={kind}{size.gpus}"]


def _gpu_type(accelerator: str, profile: ProfileDirectives) -> str:
    known = profile.gpu_types.get(accelerator)
    if known is None:
        names = ", ".join(sorted(profile.gpu_types)) or "none"
        message = f"profile {profile.name} of the site knows no accelerator {accelerator} (it knows: {names})"
        raise RenderRefusal(ClusterReason.INVALID_SPEC, f"{message}; name one of those, or add it to gpuTypes in the site's file")
    return known


def _chosen(directive: ManifestDirective, value: str | None, profile: ProfileDirectives, group: WorkerGroup) -> str | None:
    """What a manifest names, if the site's profile lets it and it is one word of Slurm's."""
    if value is None:
        return None
    where = f"workerGroups[{group.name}].slurm.{directive}"
    if directive not in profile.allowed:
        message = f"{where} can't be named here: profile {profile.name} does not allow it"
        raise RenderRefusal(
            ClusterReason.INVALID_SPEC, f"{message}; leave it out, or add {directive} to allowedDirectives in the site's file"
        )
    pattern = _CONSTRAINT if directive is ManifestDirective.CONSTRAINT else _WORD
    if pattern.fullmatch(value) is None:
        message = f"{where} is {value!r}: blanks, quotes and characters of a shell are not allowed"
        raise RenderRefusal(ClusterReason.INVALID_SPEC, f"{message}; write a plain name, such as gpu-long")
    return value


def _check_bounds(tag: JobTag, size: NodeSize, profile: ProfileDirectives) -> None:
    over = None
    if profile.maximum_cpus is not None and size.cpus > profile.maximum_cpus:
        over = f"{size.cpus} CPUs, profile {profile.name} allows {profile.maximum_cpus}"
    elif profile.maximum_memory is not None and size.memory > profile.maximum_memory:
        over = f"{size.memory / 2**30:.1f} GiB of memory, profile {profile.name} allows {profile.maximum_memory / 2**30:.1f} GiB"
    if over:
        message = f"a node of `{tag.role}` asks for {over}"
        raise RenderRefusal(
            ClusterReason.INSUFFICIENT_RESOURCES, f"{message}; lower its resources in the manifest, or name another profile"
        )


def _output(tag: JobTag, directory: ClusterDirectory) -> str:
    """sbatch expands % in it, and reads up to the next blank."""
    path = str(directory.logs / f"{tag.job_name}-{tag.attempt}-{tag.serial}.log")
    if _PATH.fullmatch(path) is None:
        message = f"the path {str(directory.path)!r} can't be given to sbatch"
        raise RenderRefusal(ClusterReason.INVALID_SPEC, f"{message}; name a sharedDirectory of letters, digits and -_./ in the site's file")
    return path


def _notice(limit: timedelta | None) -> int:
    return min(DRAIN_NOTICE_SECONDS, int(limit.total_seconds() * NOTICE_PART)) if limit else DRAIN_NOTICE_SECONDS


def _time(limit: timedelta | None) -> list[str]:
    return [f"--time={max(math.ceil(limit.total_seconds() / 60), 1)}"] if limit else []
