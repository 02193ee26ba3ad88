"""What the site says of a cluster: from one look at its jobs, head.json and the words of its nodes' programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_crds.slurm_template import slurm_template_hash
from matrix_proto.bridge_pb2 import Address, ClusterDesired, ClusterReport, Node, Refusal
from matrix_slurm_bridge.agent.decide import Hold, View, due_at, quick_ends, wanted_slots
from matrix_slurm_bridge.agent.ledger import LIVING
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase
from matrix_slurm_bridge.agent.words import waiting
from matrix_slurm_bridge.node.record import HeadRecord
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase

TELL_REASON_AFTER = 3
"""So many quick ends in a row are reported as a failure, and tried again all the same."""
_STOPPED = frozenset({"SUSPENDED", "STOPPED"})
"""States of a job that has its node and does not get on."""
_PHASES = {Phase.PRESENT: ClusterDesired.PRESENT, Phase.DELETE: ClusterDesired.DELETE}
_NODE_PHASES = {
    NodePhase.STARTING: Node.STARTING,
    NodePhase.RUNNING: Node.RUNNING,
    NodePhase.RECOVERING: Node.RECOVERING,
    NodePhase.STANDBY: Node.STARTING,
    NodePhase.FAILED: Node.FAILED,
    NodePhase.ENDED: Node.RECOVERING,
}


@dataclass(frozen=True)
class Seen:
    """All that is known of a cluster."""

    view: View
    looked_at: datetime
    """When the queue was last looked at, successfully or not."""
    failure: str = ""
    """Why the look failed."""
    record: HeadRecord | None = None
    statuses: Mapping[JobTag, NodeStatus] = field(default_factory=dict)
    hold: Hold | None = None
    fault: str = ""
    """What went wrong at the last steps and is tried again: the shared directory can't be written to, say."""
    gone: bool = False
    """Nothing of it is left: no job and no directory."""
    claimed: bool = False
    secrets_directory: str = ""
    model_cache: str = ""

    @property
    def cluster(self) -> Cluster:
        return self.view.cluster

    @property
    def head_up(self) -> bool:
        """head.json speaks of the head's job that runs, and says that Ray answers."""
        job = self.current(HEAD, 0)
        record = self.record
        if job is None or record is None or job.phase is not JobPhase.RUNNING or not record.up or record.ports is None:
            return False
        return record.fence[:2] == (job.tag.attempt, job.tag.serial)

    def current(self, role: str, index: int) -> Job | None:
        """The job that does a node's work, of several that are there for a while."""
        jobs = self.view.living(role, index)
        return max(jobs, key=self._works, default=None)

    def _works(self, job: Job) -> tuple[bool, bool, bool, bool, int]:
        """The more of it, the more likely it is that this job does the node's work."""
        view = self.view
        seated = job.tag.role == HEAD and job.tag.serial == view.record_serial
        return job.tag not in view.standing_by, job.tag in view.joined, job.phase is JobPhase.RUNNING, seated, job.tag.serial

    def word(self, job: Job) -> NodeStatus | None:
        """What the job's program says; nothing that it said before Slurm ran it again."""
        status = self.statuses.get(job.tag)
        return status if status is not None and status.restart == job.restarts else None


def report(seen: Seen) -> ClusterReport:
    """The whole of it."""
    cluster = seen.cluster
    made = ClusterReport(
        uid=cluster.uid,
        namespace=cluster.namespace,
        name=cluster.name,
        generation=cluster.generation,
        attempt=cluster.attempt,
        phase=_PHASES[cluster.phase],
        looked_at=stamp(seen.looked_at),
        presence=_presence(seen),
        message=_message(seen),
        claimed=seen.claimed,
    )
    if seen.hold is not None and seen.hold.vital:
        made.refusal.CopyFrom(Refusal(reason=seen.hold.reason.value, message=seen.hold.message))
    if made.presence == ClusterReport.PRESENT and cluster.template:
        _describe(made, seen)
    return made


def stamp(moment: datetime) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(moment)
    return time


def _presence(seen: Seen) -> ClusterReport.Presence:
    if seen.view.jobs is None:
        return ClusterReport.UNKNOWN
    if seen.gone:
        return ClusterReport.ABSENT
    if seen.cluster.phase is Phase.PRESENT and seen.hold is not None and seen.hold.vital and not _anything(seen.view):
        return ClusterReport.ABSENT  # refused, and nothing was made of it: another spec need not wait for anything to end
    return ClusterReport.PRESENT


def _anything(view: View) -> bool:
    return any(job.phase in LIVING for job in view.jobs or ()) or not all(entry.refused for entry in view.entries)


def _message(seen: Seen) -> str:
    if seen.view.jobs is None:
        return seen.failure or "Slurm has not been asked yet"
    if seen.cluster.phase is Phase.PRESENT or seen.gone:
        return seen.fault
    living = sorted(job.id for job in seen.view.jobs if job.phase in LIVING)
    sought = sorted(entry.job_id or "without a number" for entry in seen.view.entries if entry.open)
    if living:
        return f"waits until nothing is left in the queue of {_jobs(living)}"
    if sought:
        return f"makes sure that nothing is left in the queue of {_jobs(sought)}"
    return seen.fault or "removes its directory"


def _jobs(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:5])
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"{'job' if len(ids) == 1 else 'jobs'} {shown}{more}"


def _describe(made: ClusterReport, seen: Seen) -> None:
    cluster = seen.cluster
    made.template_hash = slurm_template_hash(MatrixClusterSpec.model_validate_json(cluster.template))
    begun = [entry.intended_at for entry in seen.view.entries if entry.tag.attempt == cluster.attempt]
    if begun:
        made.started_at.CopyFrom(stamp(min(begun)))
    for role, index in wanted_slots(cluster):
        node = _node(seen, role, index)
        if role == HEAD:
            made.head.CopyFrom(node)
        else:
            made.workers.append(node)
    head = seen.current(HEAD, 0)
    if head is not None and head.ends_at is not None:
        made.expires_at.CopyFrom(stamp(head.ends_at))
    if seen.head_up:
        made.address.CopyFrom(_address(seen))


def _address(seen: Seen) -> Address:
    assert seen.record is not None and seen.record.ports is not None
    ports = seen.record.ports
    return Address(
        host=seen.record.address,
        dashboard_port=ports.dashboard,
        state_port=ports.state,
        directory_port=ports.directory,
        gateway_port=ports.gateway,
        model_cache_dir=seen.model_cache,
        secrets_dir=seen.secrets_directory,
    )


def _node(seen: Seen, role: str, index: int) -> Node:
    job = seen.current(role, index)
    if job is None:
        return _without_job(seen, role, index)
    node = Node(name=job.tag.node_name, job_id=job.id, host=job.host)
    came_back = job.restarts > 0 or job.tag.serial > 1
    if job.phase is JobPhase.WAITING:
        node.phase = Node.RECOVERING if came_back else Node.STARTING
        node.since.CopyFrom(stamp(job.submitted_at))
        reason, message = waiting(job, seen.view.now)
        node.message = message
        node.reason = reason.value if reason else ""
    elif job.phase is JobPhase.ENDING:
        node.phase, node.message = Node.RECOVERING, f"job {job.id} is ending"
        node.since.CopyFrom(stamp(job.ended_at or job.submitted_at))
    else:
        _running(node, seen, job)
    if node.phase != Node.RUNNING:
        node.message += _before(seen, job)
    return node


def _before(seen: Seen, job: Job) -> str:
    """Why another job was needed."""
    history = seen.view.history(job.tag.role, job.tag.index)
    former = [entry for entry in history if not entry.open and not entry.cancelled and entry.tag.serial < job.tag.serial]
    return f"; job {former[-1].job_id} before it has ended: {former[-1].ending}" if former and former[-1].job_id else ""


def _running(node: Node, seen: Seen, job: Job) -> None:
    word = seen.word(job)
    node.since.CopyFrom(stamp((word and word.since) or job.started_at or job.submitted_at))
    if job.state in _STOPPED:
        why = "somebody has suspended it, or a job of higher priority runs in its place"
        node.phase, node.message = Node.RECOVERING, f"job {job.id} stands still on {job.host}: {why} (Slurm: {job.state})"
        return
    if word is None:
        node.phase, node.message = Node.STARTING, f"job {job.id} runs on {job.host}; its program has not said anything yet"
        return
    node.phase, node.message, node.reason = _NODE_PHASES[word.phase], word.message, word.reason
    if word.phase is NodePhase.RUNNING and job.tag.role == HEAD and not seen.head_up:
        node.phase, node.message = Node.STARTING, "Ray runs; its record has not arrived on this host yet"


def _without_job(seen: Seen, role: str, index: int) -> Node:
    history = seen.view.history(role, index)
    node = Node(name=JobTag(seen.cluster.uid, role, index, 1, 1).node_name, phase=Node.STARTING)
    node.since.CopyFrom(stamp(seen.view.now))
    node.message = _hindrance(seen)
    if not history:
        node.message = node.message or "its job is about to be submitted"
        node.reason = seen.hold.reason.value if seen.hold else ""
        return node
    last = history[-1]
    node.job_id = last.job_id
    node.since.CopyFrom(stamp(last.ended_at or last.intended_at))
    if last.open:
        node.phase = Node.RECOVERING if last.tag.serial > 1 else Node.STARTING
        node.message = _sought(last)
        return node
    node.phase = Node.FAILED if last.refused else Node.RECOVERING
    node.message = _ended(seen, last, history)
    if quick_ends(history) >= TELL_REASON_AFTER or last.refused:
        word = seen.statuses.get(last.tag)
        node.reason = (word.reason if word else "") or ClusterReason.START_FAILED.value
    return node


def _hindrance(seen: Seen) -> str:
    """What keeps jobs from being submitted."""
    return seen.fault or (seen.hold.message if seen.hold else "")


def _sought(entry: Entry) -> str:
    """Of a job that may live and is not in the queue."""
    if not entry.job_id:
        return "its submission got no answer; looks for its job in the queue"
    return f"job {entry.job_id} is submitted" if entry.missing_since is None else f"looks for job {entry.job_id}, which has left the queue"


def _ended(seen: Seen, last: Entry, history: Sequence[Entry]) -> str:
    """How its last job ended, why in its own program's words, and what comes next."""
    due = due_at(history)
    again = f"it is tried again at {due:%H:%M:%S} UTC" if due and due > seen.view.now else "another one is submitted"
    hindrance = _hindrance(seen)
    if hindrance and not last.refused:
        again = f"no other one could be submitted: {hindrance}"
    if last.refused:
        return f"{last.ending}; {again}"
    word = seen.statuses.get(last.tag)
    told = f" ({word.message})" if word and word.message and word.phase is NodePhase.FAILED else ""
    quick = quick_ends(history)
    often = f"{quick} jobs in a row ended soon after their start; " if quick >= TELL_REASON_AFTER else ""
    return f"{often}{f'job {last.job_id}' if last.job_id else 'its job'} has ended: {last.ending}{told}; {again}"
