"""`matrix bridge doctor`: is this a login node from which clusters can run?"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from matrix_cli.doctor.findings import GIB, Finding, gib, ok, problem, warning
from matrix_slurm_bridge.agent.errors import AgentError
from matrix_slurm_bridge.agent.lock import AgentLock
from matrix_slurm_bridge.agent.site_file import SiteFile
from matrix_slurm_bridge.agent.start import agent_directory
from matrix_slurm_bridge.discover import file_system
from matrix_slurm_bridge.hub.endpoint import HubEndpoint, HubError
from matrix_slurm_bridge.site import Profile, Site, SiteError
from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.port import Partition, SlurmError
from matrix_store.filesystem import LOCAL_TYPES

PYTHON_SECONDS = 120.0


def examine(file: SiteFile) -> dict[str, list[Finding]]:
    """The findings by section."""
    slurm, partitions = _slurm()
    try:
        site = file.read()
    except SiteError as error:
        told = [problem("site.yaml", line, "correct it, or let `matrix bridge init` write one") for line in str(error).splitlines()]
        return {"Slurm": slurm, "Site": told}
    profiles = {f"Profile {name}": list(_profile(profile, partitions)) for name, profile in site.profiles.items()}
    return {"Slurm": slurm, "Site": list(_site(file, site)), **profiles}


def _slurm() -> tuple[list[Finding], Sequence[Partition]]:
    async def look() -> tuple[str, Sequence[Partition]]:
        slurm = SlurmCommands()
        version, partitions = await asyncio.gather(slurm.version(), slurm.partitions())
        await slurm.jobs()
        return version, partitions

    try:
        version, partitions = asyncio.run(look())
    except SlurmError as error:
        return [problem("Slurm", str(error), "try `sinfo` here: this has to be a login node, with Slurm's commands in PATH")], ()
    return [ok("Slurm", f"{version}, {len(partitions)} partitions")], partitions


def _site(file: SiteFile, site: Site) -> Iterator[Finding]:
    yield ok("site.yaml", f"{file.path}: site {site.site}")
    yield from _shared(Path(site.shared_directory))
    yield _agent(Path(site.shared_directory))
    if site.hub is not None:
        yield _token(HubEndpoint(site.hub.address, site.site, Path(site.hub.token_file).expanduser()))


def _shared(path: Path) -> Iterator[Finding]:
    place = next(one for one in (path, *path.parents) if one.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        yield problem("shared directory", f"{place} can't be written to", "correct sharedDirectory, or its permissions")
        return
    kind = file_system(str(place.resolve()), Path("/proc/self/mounts").read_text())
    state = os.statvfs(place)
    free = state.f_bavail * state.f_frsize
    fact = f"{path} ({kind or 'unknown'}), {gib(free)} free"
    if free < GIB // 5:
        yield problem("shared directory", fact, "make room there")
    elif kind in LOCAL_TYPES:
        yield warning("shared directory", f"{fact}: a file system of this machine alone?", "make sure that every node sees it")
    else:
        yield ok("shared directory", fact)


def _agent(shared: Path) -> Finding:
    try:
        holder = AgentLock(agent_directory(shared)).holder()
    except AgentError as error:
        return problem("agent", str(error), "see what is there")
    return ok("agent", f"at work: {holder}, {holder.liveness.value}" if holder else "none at work")


def _token(endpoint: HubEndpoint) -> Finding:
    try:
        endpoint.token()
    except HubError as error:
        return problem("hub token", str(error), "put the site's token there, for you alone")
    return ok("hub token", f"{endpoint.token_file}, for {endpoint.address}")


def _profile(profile: Profile, partitions: Sequence[Partition]) -> Iterator[Finding]:
    known = {partition.name: partition for partition in partitions}
    for name in dict.fromkeys(one for one in (profile.partition, profile.head_partition) if one is not None and known):
        if name not in known:
            yield problem("partition", f"{name} is not there", f"name one of {', '.join(sorted(known))}")
        elif not known[name].up:
            yield warning("partition", f"{name} is down", "ask the site, or name another one")
        else:
            yield ok("partition", name)
    yield _python(Path(profile.python))


def _python(python: Path) -> Finding:
    """Here; that nodes see it too is told by the first job."""
    install = "`matrix bridge install-runtime --prefix DIR` makes one"
    if not os.access(python, os.X_OK):
        return problem("python", f"{python} can't be run", install)
    argv = [str(python), "-c", "import ray, matrix_slurm_bridge.node; print(ray.__version__)"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PYTHON_SECONDS, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return problem("python", f"{python}: {error}", install)
    if done.returncode:
        return problem("python", f"{python}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", install)
    return ok("python", f"{python}, Ray {done.stdout.strip()}")
