"""The head's record: one small file in the cluster's shared directory by which workers, tunnel and the head itself know which head is the
one. It is made (empty of a head) before the head's job is submitted, and replaced in one step; whoever waits for it opens and reads it
again and again, since network file systems remember that a file was absent."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

FILE = "head.json"


class Fence(NamedTuple):
    """Orders heads: the highest one is the one. A head that sees a higher one ends itself."""

    attempt: int
    """The cluster's (JobTag.attempt)."""
    serial: int
    """The job's within it (JobTag.serial)."""
    restart: int
    """SLURM_RESTART_COUNT: a job that Slurm ran again by itself."""


class HeadPorts(BaseModel):
    """All on the head's own address, out of the block that the head found free on its node."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True)

    gcs: int
    dashboard: int
    state: int
    directory: int
    gateway: int


class HeadRecord(BaseModel):
    """`head.json`."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True)

    uid: str
    attempt: int = 0
    serial: int = 0
    restart: int = 0
    job_id: str = ""
    host: str = ""
    """The node's name; empty while there is no head."""
    address: str = ""
    """Its IP address, as the other nodes and the login node reach it."""
    ports: HeadPorts | None = None
    started_at: datetime | None = None
    up: bool = False
    """Ray's GCS and dashboard have answered."""

    @property
    def fence(self) -> Fence:
        return Fence(self.attempt, self.serial, self.restart)
