"""What `matrix bridge init` finds at a site, and the site.yaml that it writes from it, to be read and edited."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.port import Partition

_SHARED_TYPES = re.compile(
    r"nfs4?|lustre|gpfs|beegfs|ceph|fuse\.(ceph|glusterfs|juicefs|weka)\S*|wekafs|panfs|pvfs2|orangefs|afs|cifs|smb3"
)
_HINTS = ("SCRATCH", "WORK", "PROJECT", "DATA", "HOME")
"""Variables in which sites name directories that all nodes see."""
_LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class SharedDirectory:
    """A directory of the user's that may be seen by all nodes."""

    path: Path
    file_system: str
    variable: str

    @property
    def certain(self) -> bool:
        """Whether its file system is one for networks."""
        return _SHARED_TYPES.fullmatch(self.file_system) is not None


@dataclass(frozen=True)
class Findings:
    """What there is."""

    version: str
    cluster: str
    partitions: Sequence[Partition]
    account: str | None
    """The user's default one; None where there is no accounting."""
    shared: Sequence[SharedDirectory]
    """The best first."""
    python: Path
    """Of this program."""


async def look(slurm: SlurmCommands, python: Path, environment: Mapping[str, str] = os.environ) -> Findings:
    """Raises SlurmUnreachable."""
    mounts = await asyncio.to_thread(lambda: Path("/proc/self/mounts").read_text())
    return Findings(
        version=await slurm.version(),
        cluster=await slurm.cluster(),
        partitions=await slurm.partitions(),
        account=await slurm.default_account(),
        shared=await _shared(environment, mounts),
        python=python,
    )


def gpus(partitions: Iterable[Partition]) -> Mapping[str, int]:
    """Type -> how many a node has at most; the type is empty where the site names none. GRES are written gpu:4, gpu:a100:4(S:0-1)."""
    found: dict[str, int] = {}
    for gres in (gres for partition in partitions for gres in partition.gres):
        if match := re.match(r"gpu(?::([A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*))?:(\d+)", gres):
            kind = match[1] or ""
            found[kind] = max(found.get(kind, 0), int(match[2]))
    return found


async def _shared(environment: Mapping[str, str], mounts: str) -> Sequence[SharedDirectory]:
    """A file server that is away blocks a look for ever: then it is no candidate."""
    found = []
    for variable in _HINTS:
        path = environment.get(variable, "")
        try:
            usable = path.startswith("/") and await asyncio.wait_for(asyncio.to_thread(_usable, path), _LOOK_SECONDS)
        except TimeoutError:
            usable = False
        if usable:
            found.append(SharedDirectory(Path(path), file_system(path, mounts), variable))
    return sorted(found, key=lambda one: not one.certain)


def _usable(path: str) -> bool:
    return Path(path).is_dir() and os.access(path, os.W_OK | os.X_OK)


def file_system(path: str, mounts: str) -> str:
    """The type of the one that holds it; `mounts` as in /proc/self/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, place, its_kind, *_ = line.split()
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, its_kind
    return kind


def site_yaml(findings: Findings) -> str:
    """The text of a site.yaml that can be read back."""
    return "\n".join([*_head(findings), "profiles:", *_default(findings), *_gpu(findings)]) + "\n"


def _head(findings: Findings) -> Iterator[str]:
    yield f"# What Matrix may do at this site: Slurm {findings.version} on cluster {findings.cluster}, as seen from {socket.gethostname()}."
    yield "# A manifest picks one of the profiles (`backend: {slurm: {site: ..., profile: ...}}`); change them as you like."
    yield "# Partitions:"
    yield from (f"#   {_described(partition)}" for partition in findings.partitions)
    yield f"site: {_site_name(findings.cluster)}"
    yield "# A directory that this machine and all nodes see. Found here, the likeliest first:"
    yield from (f"#   {one.path}  (${one.variable}, {one.file_system or 'unknown'})" for one in findings.shared)
    first = findings.shared[0].path if findings.shared else Path.home()
    yield f"sharedDirectory: {first / 'matrix'}"
    yield "# hub: {address: matrix.example.org:8474, tokenFile: ~/.config/matrix/token, caFile: ~/.config/matrix/hub.crt}"
    yield "pollSeconds: 10    # between two looks at the queue"
    yield "maxClusters: 20"
    yield "maxJobs: 200       # in the queue at once"


def _default(findings: Findings) -> Iterator[str]:
    usual = next((one for one in findings.partitions if one.default), None)
    yield "  default:"
    yield from _common(findings, usual)


def _gpu(findings: Findings) -> Iterator[str]:
    """A second profile where another partition than the default one has GPUs."""
    with_gpus = [one for one in findings.partitions if gpus([one]) and one.up and not one.default]
    if with_gpus and not any(gpus([one]) for one in findings.partitions if one.default):
        yield "  gpu:"
        yield from _common(findings, with_gpus[0])
        usual = next((one.name for one in findings.partitions if one.default), None)
        if usual:
            yield f"    headPartition: {usual}    # the head needs no GPU"


def _common(findings: Findings, partition: Partition | None) -> Iterator[str]:
    if partition:
        yield f"    partition: {partition.name}"
    yield f"    account: {findings.account}" if findings.account else "    # account: team-a"
    yield "    # qos: normal"
    yield f"    python: {findings.python}    # of the runtime's environment; all nodes have to see it: `matrix bridge install-runtime`"
    yield "    setup: []    # lines of bash that each job runs first, such as: module load cuda"
    kinds = [kind for kind in gpus([partition] if partition else findings.partitions) if kind]
    if kinds:
        yield f"    gpuTypes: {{{', '.join(f'{kind.upper()}: {kind}' for kind in kinds)}}}    # accelerator of a manifest: Slurm's type"
    yield "    # gpuDirective: gres    # where the site wants --gres=gpu:TYPE:N and no --gpus-per-node"
    yield "    # timeLimit: 12:00:00    # of workers, which are succeeded one by one before it is over"
    yield _head_time_limit(next((one for one in findings.partitions if one.default), partition))
    yield "    # allowedDirectives: [partition, qos, constraint]    # what a manifest may name itself"


def _head_time_limit(partition: Partition | None) -> str:
    """The longest that its partition gives: while another head takes over nothing answers."""
    if partition is None or partition.time_limit is None:
        return "    # headTimeLimit: 7-00:00:00    # of the head; ask for the longest, for nothing answers while another one takes over"
    minutes, seconds = divmod(int(partition.time_limit.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"    headTimeLimit: {hours}:{minutes:02}:{seconds:02}    # of the head; the partition's longest"


def _described(partition: Partition) -> str:
    limit = f"at most {partition.time_limit}" if partition.time_limit else "no time limit"
    what = [f"{partition.nodes} nodes with {partition.cpus} CPUs and {partition.memory_mb} MB or more", *partition.gres, limit]
    marks = [mark for mark, holds in (("default", partition.default), ("down", not partition.up)) if holds]
    mark = f" ({', '.join(marks)})" if marks else ""
    return f"{partition.name}{mark}: {', '.join(what)}"


def _site_name(cluster: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", cluster.lower()).strip("-")
    return name if name[:1].isalpha() else "site"
