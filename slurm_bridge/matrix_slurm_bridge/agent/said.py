"""What the nodes' programs and the agent itself have written into a cluster's directory, as it was read last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from matrix_slurm_bridge.agent import files
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.record import HeadRecord
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus, read_status
from matrix_slurm_bridge.slurm.names import HEAD, JobTag


@dataclass(frozen=True)
class Said:
    """Of one cluster."""

    record: HeadRecord | None = None
    """head.json."""
    statuses: Mapping[JobTag, NodeStatus] = field(default_factory=dict)
    standing_by: frozenset[JobTag] = field(default_factory=frozenset)
    """Heads that wait for their predecessor's end."""
    draining: Mapping[JobTag, datetime] = field(default_factory=dict)
    """Workers that were asked to drain, and when."""

    @property
    def joined(self) -> frozenset[JobTag]:
        """The workers that are in the Ray of the head that runs."""
        record = self.record
        if record is None or not record.up:
            return frozenset()
        return frozenset(tag for tag, said in self.statuses.items() if said.phase is NodePhase.RUNNING and said.head == record.fence)

    @property
    def prepared(self) -> frozenset[JobTag]:
        """Heads that stand by and could begin at once."""
        return frozenset(tag for tag in self.standing_by if tag in self.statuses and self.statuses[tag].phase is NodePhase.STANDBY)

    def serial(self, attempt: int) -> int:
        """Of the head that head.json names; 0 if it is none of that attempt."""
        return self.record.serial if self.record and self.record.attempt == attempt else 0

    def well(self, tag: JobTag) -> bool:
        """Of a job that runs: it does what it is for, or will when it is told to."""
        if tag.role != HEAD:
            return tag in self.joined or tag in self.draining
        if tag in self.standing_by:
            return tag in self.prepared
        return self.record is not None and self.record.up and self.record.serial >= tag.serial


def read_said(directory: ClusterDirectory, tags: Sequence[JobTag]) -> Said:
    """Of those jobs. Raises Unusable."""
    record = files.read_record(directory)
    begun = (record.attempt, record.serial) if record else None
    words = {tag: read_status(directory.status_file(tag)) for tag in tags}
    heads = [tag for tag in tags if tag.role == HEAD]
    asked = {tag: files.asked_to_drain(directory, tag) for tag in tags if tag.role != HEAD}
    return Said(
        record=record,
        statuses={tag: word for tag, word in words.items() if word is not None},
        standing_by=frozenset(tag for tag in heads if (tag.attempt, tag.serial) != begun and files.stands_by(directory, tag)),
        draining={tag: at for tag, at in asked.items() if at is not None},
    )
