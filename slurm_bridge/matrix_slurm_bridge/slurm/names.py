"""How the jobs of a cluster are named, and found again: by job name, with all of it in the comment. A job's number alone says nothing: a
slurmctld that lost its last seconds gives the same number to the next job."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = "head"
"""The role of the head's job; that of a worker is its group's name, which is why no group may be called so here."""
_NAME = re.compile(r"mx-(?P<uid8>[0-9a-f]{8})-(?P<role>[a-z][a-z0-9-]*)-(?P<index>\d+)")
_COMMENT = re.compile(r"matrix:(?P<uid>[0-9a-f-]{36}):(?P<role>[a-z][a-z0-9-]*):(?P<index>\d+):(?P<attempt>\d+):(?P<serial>\d+)")


@dataclass(frozen=True, order=True)
class JobTag:
    """Which job of which cluster. `attempt` is the cluster's (all jobs made anew), `serial` counts the jobs of one role and index within
    it, from 1: a lost one's replacement, or the successor of one whose time ends."""

    uid: str
    role: str
    index: int
    attempt: int
    serial: int

    @property
    def job_name(self) -> str:
        """--job-name, by which the server filters. Not unique: the successor of a job has the same."""
        return f"mx-{self.uid[:8]}-{self.role}-{self.index}"

    @property
    def comment(self) -> str:
        """--comment: unique, for ever."""
        return f"matrix:{self.uid}:{self.role}:{self.index}:{self.attempt}:{self.serial}"

    @property
    def node_name(self) -> str:
        """As in reports: `head`, or `<group>-<index>`."""
        return HEAD if self.role == HEAD else f"{self.role}-{self.index}"


def parse(job_name: str, comment: str) -> JobTag | None:
    """None for a job that is not ours: the two must say the same, so that a stranger's job of the same name is never touched."""
    found = _COMMENT.fullmatch(comment)
    if found is None or _NAME.fullmatch(job_name) is None:
        return None
    tag = JobTag(found["uid"], found["role"], *(int(found[key]) for key in ("index", "attempt", "serial")))
    return tag if tag.job_name == job_name else None
