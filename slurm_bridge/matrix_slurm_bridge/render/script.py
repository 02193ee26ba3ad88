"""The job scripts: short, readable, and fit to be submitted by hand. Pure, with golden files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from matrix_crds.cluster import MatrixClusterSpec, WorkerGroup
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.render.checks import check_supported
from matrix_slurm_bridge.render.directives import head_directives, worker_directives
from matrix_slurm_bridge.render.profile import ProfileDirectives
from matrix_slurm_bridge.render.sizes import NodeSize, head_size, worker_size
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Submission

_BODY = """
# What was set for the login node does not count here.
unset SLURM_EXPORT_ENV LD_LIBRARY_PATH PYTHONPATH PYTHONHOME
[ -n "${{HOME:-}}" ] || HOME=~
[ -n "${{USER:-}}" ] || USER=$(id -un)
[ -n "${{LANG:-}}" ] || LANG=C.UTF-8
export HOME USER LANG LOGNAME="$USER" PATH="${{PATH:-/usr/local/bin:/usr/bin:/bin}}"

# From the profile {profile} of the site's file:
{setup}

PYTHON={python}
STATUS={status}
if ! [ -x "$PYTHON" ]; then
  why="the Python of profile {profile} ($PYTHON) is not on $(uname -n); make it readable there, or correct python in the site's file"
  echo "$why" >&2
  printf '{{"phase": "Failed", "reason": "StartFailed", "message": "%s", "jobId": "%s"}}\\n' "$why" "$SLURM_JOB_ID" >"$STATUS.draft"
  mv "$STATUS.draft" "$STATUS"
  exit 127
fi
exec "$PYTHON" -m matrix_slurm_bridge.node {command} \\
{arguments}
"""


def render_head(tag: JobTag, spec: MatrixClusterSpec, profile: ProfileDirectives, directory: ClusterDirectory) -> Submission:
    """The head's job. Raises RenderRefusal."""
    check_supported(spec)
    size = head_size(spec)
    directives = head_directives(tag, size, profile, directory)
    return _submission("head", tag, directives, _arguments(tag, spec, size, profile, directory), profile, directory)


def render_worker(tag: JobTag, spec: MatrixClusterSpec, profile: ProfileDirectives, directory: ClusterDirectory) -> Submission:
    """The job of one worker of the group `tag.role`. Raises RenderRefusal; KeyError if the spec has no such group."""
    check_supported(spec)
    group = _group(spec, tag.role)
    size = worker_size(group)
    directives = worker_directives(tag, size, group, profile, directory)
    grace = [("--grace", str(int(profile.head_loss_grace.total_seconds())))]
    return _submission("worker", tag, directives, _arguments(tag, spec, size, profile, directory) + grace, profile, directory)


def _group(spec: MatrixClusterSpec, name: str) -> WorkerGroup:
    return {group.name: group for group in spec.worker_groups}[name]


def _arguments(
    tag: JobTag, spec: MatrixClusterSpec, size: NodeSize, profile: ProfileDirectives, directory: ClusterDirectory
) -> list[tuple[str, str]]:
    return [
        ("--cluster", str(directory.path)),
        ("--uid", tag.uid),
        ("--role", tag.role),
        ("--index", str(tag.index)),
        ("--attempt", str(tag.attempt)),
        ("--serial", str(tag.serial)),
        ("--ray-version", spec.ray.version),
        ("--cpus", str(size.ray_cpus)),
        ("--memory", str(size.memory)),
        ("--gpus", str(size.gpus)),
        *([("--accelerator", size.accelerator)] if size.accelerator else []),
        *(("--resource", f"{name}={amount:g}") for name, amount in sorted(size.resources.items())),
        ("--ports", f"{profile.ports.start}-{profile.ports.stop - 1}"),
        *([("--local-directory", profile.local_directory)] if profile.local_directory else []),
    ]


def _submission(
    command: str,
    tag: JobTag,
    directives: Sequence[str],
    arguments: Sequence[tuple[str, str]],
    profile: ProfileDirectives,
    directory: ClusterDirectory,
) -> Submission:
    head = "\n".join(["#!/bin/bash", *(f"#SBATCH {directive}" for directive in directives)])
    body = _BODY.format(
        profile=profile.name,
        setup="\n".join(profile.setup) or "# (no lines)",
        python=shlex.quote(profile.python),
        status=shlex.quote(str(directory.status_file(tag))),
        command=command,
        arguments=" \\\n".join(f"  {option} {shlex.quote(value)}" for option, value in arguments),
    )
    return Submission(tag, f"{head}\n{body}")
