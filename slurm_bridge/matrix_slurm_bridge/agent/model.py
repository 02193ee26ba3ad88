"""What the agent remembers: the clusters that are wanted, and each job that it has submitted or meant to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.worker_numbers import fixed_numbers, worker_numbers
from matrix_proto.bridge_pb2 import ClusterDesired
from matrix_slurm_bridge.slurm.names import JobTag


class Phase(StrEnum):
    """What a cluster is to become."""

    PRESENT = "Present"
    DELETE = "Delete"


@dataclass(frozen=True)
class Cluster:
    """A cluster as it is wanted."""

    uid: str
    namespace: str
    name: str
    generation: int
    phase: Phase
    attempt: int
    spec: str
    """MatrixCluster's spec as JSON, the newest one; the numbers of workers are from here."""
    template: str
    """The spec that the jobs of this attempt are made from: a change of the template waits for the next attempt. The numbers of workers in
    it are the last ones that its groups had."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the secrets directory."""


@dataclass(frozen=True)
class Entry:
    """A job that was submitted, or was meant to be: the intent is stored before sbatch runs."""

    tag: JobTag
    intended_at: datetime
    job_id: str = ""
    """Slurm's number, once sbatch has said it."""
    cancelled: bool = False
    """We have asked for its end."""
    ended_at: datetime | None = None
    """When we noticed that it had ended, or that Slurm does not know it."""
    ending: str = ""
    """How it ended, in words."""
    ran_seconds: float = 0.0
    refused: bool = False
    """Slurm did not take it."""
    missing_since: datetime | None = None
    """Not in the queue in any look since then; not stored, so that an agent that has just started looks for itself."""

    @property
    def open(self) -> bool:
        """It may live."""
        return self.ended_at is None


def take(former: Cluster | None, desired: ClusterDesired) -> Cluster:
    """The cluster after a hub's word. An attempt never goes back: a hub whose database was restored undoes nothing. An order to delete
    may come without a spec. Raises ValueError (pydantic's among them) for what can't be read."""
    phase = {ClusterDesired.PRESENT: Phase.PRESENT, ClusterDesired.DELETE: Phase.DELETE}[desired.phase]
    if phase is Phase.DELETE and former is not None:
        return replace(former, phase=phase, generation=desired.generation, attempt=max(former.attempt, desired.attempt))
    if phase is Phase.PRESENT:
        MatrixClusterSpec.model_validate_json(desired.spec)
    attempt = max(former.attempt, desired.attempt) if former else desired.attempt
    anew = former is None or attempt > former.attempt or former.phase is Phase.DELETE
    return Cluster(
        uid=desired.uid,
        namespace=desired.namespace,
        name=desired.name,
        generation=desired.generation,
        phase=phase,
        attempt=attempt,
        spec=desired.spec,
        # The former spec first: the release before kept in the template the numbers that it was made with.
        template=desired.spec if anew or former is None else _scaled(_scaled(former.template, former.spec), desired.spec),
        digests=digests(desired.secrets),
    )


def numbers(template: str, spec: str) -> dict[str, int]:
    """How many workers each group of the template is to have, by its name."""
    before, now = (MatrixClusterSpec.model_validate_json(text) for text in (template, spec))
    return worker_numbers(now, fixed_numbers(before))


def _scaled(template: str, spec: str) -> str:
    """The template with those numbers; as it is if it has them."""
    document, wanted = json.loads(template), numbers(template, spec)
    groups = document.get("workerGroups", ())
    if all(group.get("replicas", 1) == wanted[group["name"]] for group in groups):
        return template
    for group in groups:
        group["replicas"] = wanted[group["name"]]
    return json.dumps(document)


def digests(secrets: Mapping[str, bytes]) -> dict[str, str]:
    """By which it is known whether a file has changed, without keeping what is in it."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(secrets.items())}
