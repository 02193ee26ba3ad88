"""Slurm's words, and what they mean: states of jobs, reasons why they wait, and how they ended. The names are those of Slurm 22.05 to 25.11
(src/common/job_state_reason.c and slurm_protocol_defs.c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.slurm.port import Job, JobPhase

PHASES: Mapping[str, JobPhase] = MappingProxyType(
    {
        "PENDING": JobPhase.WAITING,
        "CONFIGURING": JobPhase.WAITING,  # it has its node, which is still booting
        "POWER_UP_NODE": JobPhase.WAITING,
        "REQUEUED": JobPhase.WAITING,
        "REQUEUE_FED": JobPhase.WAITING,
        "REQUEUE_HOLD": JobPhase.WAITING,
        "RESV_DEL_HOLD": JobPhase.WAITING,
        "SPECIAL_EXIT": JobPhase.WAITING,  # requeued and held, by an exit code that the site has set
        "EXPEDITING": JobPhase.WAITING,  # requeued, and in front of all others
        "RUNNING": JobPhase.RUNNING,
        "RESIZING": JobPhase.RUNNING,
        "SIGNALING": JobPhase.RUNNING,
        "STOPPED": JobPhase.RUNNING,  # it has its node, and its processes are stopped
        "SUSPENDED": JobPhase.RUNNING,
        "COMPLETING": JobPhase.ENDING,
        "STAGE_OUT": JobPhase.ENDING,
        "CANCELLED": JobPhase.ENDED,
        "COMPLETED": JobPhase.ENDED,
        "DEADLINE": JobPhase.ENDED,
        "FAILED": JobPhase.ENDED,
        "OUT_OF_MEMORY": JobPhase.ENDED,
        "REVOKED": JobPhase.ENDED,  # another cluster of the federation has it
        "TIMEOUT": JobPhase.ENDED,
        "BOOT_FAIL": JobPhase.LOST,
        "LAUNCH_FAILED": JobPhase.LOST,
        "NODE_FAIL": JobPhase.LOST,
        "PREEMPTED": JobPhase.LOST,
        "RECONFIG_FAIL": JobPhase.LOST,
    }
)


def phase_of(state: str) -> JobPhase:
    """A state that nobody told us of counts as running: nothing is replaced for it, and when the job has left the queue it is known."""
    return PHASES.get(state, JobPhase.RUNNING)


@dataclass(frozen=True)
class Verdict:
    """What is said of a job to whom it concerns."""

    reason: ClusterReason
    message: str
    theirs: bool = False
    """It does not go on by itself: the user, or the site, has something to do."""


_QUEUE = ClusterReason.QUEUED
_LIMITS = ClusterReason.INSUFFICIENT_RESOURCES
_HELD = ClusterReason.UNSCHEDULABLE
_SPEC = ClusterReason.INVALID_SPEC

_WAITS: Mapping[str, tuple[ClusterReason, str]] = MappingProxyType(
    {
        "": (_QUEUE, "Slurm has not looked at it yet"),
        "BeginTime": (_QUEUE, "its begin time has not come; after a requeue Slurm waits for about two minutes"),
        "Cleaning": (_QUEUE, "what is left of its former run is cleared away"),
        "Dependency": (_QUEUE, "a job that it depends on has not ended"),
        "JobArrayTaskLimit": (_QUEUE, "as many tasks of its array run as may"),
        "Licenses": (_QUEUE, "it waits for a licence"),
        "NodeDown": (_QUEUE, "a node that it had is down"),
        "Nodes required for job are DOWN, DRAINED or reserved": (_QUEUE, "the nodes that could take it are down, drained or reserved"),
        "Priority": (_QUEUE, "jobs of higher priority are in front of it"),
        "Prolog": (_QUEUE, "the site's prolog runs on its node"),
        "Reservation": (_QUEUE, "it waits for its reservation"),
        "Resources": (_QUEUE, "it is next, and waits for free nodes"),
        "SchedDefer": (_QUEUE, "Slurm schedules later"),
        "AccountNotAllowed": (_SPEC, "its account may not use that partition: change the profile's account or partition"),
        "BadConstraints": (_SPEC, "no node has what its constraints ask for: change the constraint"),
        "Constraints": (_SPEC, "no node has what its constraints ask for: change the constraint"),
        "InvalidAccount": (_SPEC, "Slurm does not know its account, or you are not in it: change the profile's account"),
        "InvalidQOS": (_SPEC, "Slurm does not know its QOS: change the profile's qos"),
        "QOSNotAllowed": (_SPEC, "its account or partition may not use that QOS: change the profile's qos"),
        "Job's account not permitted to use this partition": (_SPEC, "its account may not use that partition: change the profile"),
        "Job's QOS not permitted to use this partition": (_SPEC, "its QOS may not be used in that partition: change the profile"),
        "User's group not permitted to use this partition": (_SPEC, "you may not use that partition: change the profile's partition"),
        "ReservationInvalid": (_SPEC, "its reservation is not valid: change the profile's directives"),
        "ReservationDeleted": (_SPEC, "its reservation was deleted: change the profile's directives"),
        "DeadLine": (_SPEC, "it can't end before its deadline: change the profile's directives"),
        "DependencyNeverSatisfied": (_HELD, "a job that it depends on has failed, so it never starts: cancel it"),
        "JobHeldAdmin": (_HELD, "an administrator holds it: ask the site"),
        "JobHeldUser": (_HELD, "it is held: scontrol release lets it go on"),
        "JobHoldMaxRequeue": (_HELD, "it was requeued too often and is held now: scontrol release lets it go on"),
        "launch failed requeued held": (_HELD, "its node could not start it, and Slurm holds it now: scontrol release lets it go on"),
        "job requeued in held state": (_HELD, "it was requeued and is held now: scontrol release lets it go on"),
        "PartitionDown": (_HELD, "its partition is down: wait for the site, or change the profile's partition"),
        "PartitionInactive": (_HELD, "its partition takes no jobs: wait for the site, or change the profile's partition"),
        "ReqNodeNotAvail": (_HELD, "the nodes that it asks for are down, drained or reserved: wait for the site, or ask for others"),
        "FrontEndDown": (_HELD, "no front end of the site is up: ask the site"),
        "SystemFailure": (_HELD, "Slurm itself failed: ask the site"),
        "AccountingPolicy": (_LIMITS, "it is beyond what its account or QOS may have"),
        "MaxMemPerLimit": (_LIMITS, "it asks for more memory than the partition gives: ask for less"),
        "PartitionConfig": (_LIMITS, "the partition never has what it asks for: ask for fewer nodes, CPUs, less memory or time"),
        "PartitionNodeLimit": (_LIMITS, "it asks for more nodes than the partition gives, or than it has"),
        "PartitionTimeLimit": (_LIMITS, "its time limit is above the partition's: change the profile's timeLimit"),
    }
)
"""By the word, or by how the sentence begins, of those that Slurm puts in the word's place."""

_FAMILIES: Mapping[str, tuple[ClusterReason, str]] = MappingProxyType(
    {
        "AssocMax": (_LIMITS, "it is beyond what your account may have at once, or for one job: see `sacctmgr show assoc`"),
        "Assoc": (_LIMITS, "your account has used up its share: others' jobs have to end, or the site has to give more"),
        "QOSMax": (_LIMITS, "it is beyond what its QOS gives at once, or to one job: see `sacctmgr show qos`"),
        "QOSMin": (_LIMITS, "it asks for less than its QOS wants: see `sacctmgr show qos`"),
        "QOS": (_LIMITS, "its QOS has used up its share: others' jobs have to end, or the site has to give more"),
        "Max": (_LIMITS, "it is beyond what its account may have at once: see `sacctmgr show qos`"),
        "BurstBuffer": (_QUEUE, "it waits for its burst buffer"),
        "Power": (_QUEUE, "it waits for power"),
        "Node": (_QUEUE, "it waits for its node"),
    }
)
"""By how the word begins, the longest first: limits there are a hundred of."""


def why_waiting(slurm_reason: str) -> Verdict:
    """`slurm_reason` as squeue gives it, with what it appends. The message has Slurm's own words."""
    reason, words = _wait(slurm_reason)
    message = f"{words} (Slurm: {slurm_reason})" if slurm_reason else words
    return Verdict(reason, message, theirs=reason is not _QUEUE)


def _wait(slurm_reason: str) -> tuple[ClusterReason, str]:
    word = slurm_reason.partition(",")[0].strip()
    if word in _WAITS:
        return _WAITS[word]
    sentences = (found for beginning, found in _WAITS.items() if " " in beginning and slurm_reason.startswith(beginning))
    families = (found for beginning, found in _FAMILIES.items() if word.startswith(beginning))
    return next(sentences, None) or next(families, None) or (_QUEUE, "it waits")


_ENDS: Mapping[str, tuple[ClusterReason, str]] = MappingProxyType(
    {
        "BOOT_FAIL": (ClusterReason.NODE_LOST, "its node did not boot"),
        "CANCELLED": (ClusterReason.RECOVERING, "somebody cancelled it"),
        "COMPLETED": (ClusterReason.RECOVERING, "it ended by itself"),
        "DEADLINE": (ClusterReason.RECOVERING, "its deadline ended it"),
        "LAUNCH_FAILED": (ClusterReason.START_FAILED, "its node could not start it"),
        "NODE_FAIL": (ClusterReason.NODE_LOST, "its node failed"),
        "OUT_OF_MEMORY": (ClusterReason.OUT_OF_MEMORY, "it used more memory than it gets"),
        "PREEMPTED": (ClusterReason.EVICTED, "a job of higher priority took its place"),
        "RECONFIG_FAIL": (ClusterReason.NODE_LOST, "its node could not be made ready"),
        "REVOKED": (ClusterReason.RECOVERING, "another cluster of the federation has it"),
        "TIMEOUT": (ClusterReason.RECOVERING, "its time limit ended it"),
    }
)

_NEVER_STARTED = frozenset(("BadConstraints", "Constraints", "InvalidAccount", "InvalidQOS"))
"""Of a job that failed without a start: sbatch has refused it, and its record is there all the same, or slurmctld did so later."""


def how_ended(job: Job) -> Verdict:
    """Of a job that is ENDED or LOST. The message has Slurm's own words."""
    if job.state == "FAILED" and job.reason in _NEVER_STARTED:
        return why_waiting(job.reason)
    reason, words = _ENDS.get(job.state, (ClusterReason.START_FAILED, _failure(job)))
    said = ", ".join(filter(None, (job.state, job.reason, f"exit {job.exit_code}" if job.exit_code else "")))
    return Verdict(reason, f"{words} (Slurm: {said})")


def _failure(job: Job) -> str:
    status, _, number = job.exit_code.partition(":")
    if (status, number) == ("0", "53"):  # what slurmd sets before there is a process (22.05)
        return "its node could not start it: its working directory or its log's directory is not there, or can't be written"
    if number not in ("", "0"):
        return f"its script was ended by signal {number}"
    return f"its script ended with status {status}" if status else "it failed"
