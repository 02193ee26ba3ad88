"""A profile of the site's file as the renderers need it: what the site's user decided, never a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class GpuDirective(StrEnum):
    """How the site asks for GPUs."""

    GPUS_PER_NODE = "gpus-per-node"
    """--gpus-per-node=TYPE:N"""
    GRES = "gres"
    """--gres=gpu:TYPE:N"""


class ManifestDirective(StrEnum):
    """What a manifest may name itself, where the profile lets it."""

    PARTITION = "partition"
    QOS = "qos"
    CONSTRAINT = "constraint"


@dataclass(frozen=True)
class ProfileDirectives:
    """Checked by whoever reads the site's file: no newline and no shell in what goes into directives."""

    name: str
    python: str
    """That of the runtime's environment, readable on every node."""
    partition: str | None = None
    """None: Slurm's default."""
    head_partition: str | None = None
    """None: the same as that of the workers."""
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()
    """Lines of bash, run before anything else: `module load ...`."""
    local_directory: str | None = None
    """A directory of each node, for sockets and logs of Ray; None: the job's own ($SLURM_TMPDIR, $TMPDIR, /tmp)."""
    gpu_directive: GpuDirective = GpuDirective.GPUS_PER_NODE
    gpu_types: Mapping[str, str] = field(default_factory=dict)
    """The site's word for each accelerator of a manifest: H100 -> h100."""
    allowed: frozenset[ManifestDirective] = frozenset()
    extra: tuple[str, ...] = ()
    """Further directives as they are: --exclusive, --reservation=lab."""
    time_limit: timedelta | None = None
    """Of workers; None: the partition's default."""
    head_time_limit: timedelta | None = None
    maximum_cpus: int | None = None
    """Of one job; None: Slurm decides."""
    maximum_memory: int | None = None
    """Bytes, of one job."""
    ports: range = range(20_000, 32_000)
    """From which nodes choose: below the range that Linux takes outgoing connections' ports from (32768 and up)."""
    head_loss_grace: timedelta = timedelta(seconds=1800)
    """How long a worker keeps its GPUs and waits for another head."""
