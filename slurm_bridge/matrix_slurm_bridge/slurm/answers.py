"""What Slurm's commands complain of, told apart: it did not answer, it said no, there is no such job. The words are those of its table of
errors (src/common/slurm_errno.c), which are the same from 22.05 on; each command puts its own words in front.

What is in no table counts as no answer: then nothing is submitted again before the queue was looked at.
"""

from __future__ import annotations

from enum import Enum, auto

_UNKNOWN_JOB = ("Invalid job id specified", "already completing or completed", "Job has already finished")

_SILENT = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Zero Bytes were transmitted",
    "Connection refused",
    "Connection timed out",
    "No route to host",
    "Communication connection failure",
    "Message send failure",
    "Message receive failure",
    "Communication shutdown failure",
    "Unexpected message received",
    "Header lengths are longer than data received",
    "Protocol authentication error",
    "Invalid authentication credential",
    "Authentication credential expired",
    "Munge encode failed",
    "Rate limit exceeded",
    "backup controller in standby mode",
    "Controller is in standby mode",
    "temporarily unable to accept job",
    "Unspecified error",
    "Slurm internal error",
    "I/O error writing script",
)

_NO = (
    "Invalid partition name specified",
    "No partition specified or system default partition",
    "Access/permission denied",
    "User's group not permitted to use this partition",
    "Requested nodes not in this partition",
    "More processors requested than permitted",
    "Node count specification invalid",
    "MaxJobCount limit reached",
    "Job size specification needs to be provided",
    "Job script not specified",
    "Invalid user id",
    "Pathname of a file, directory or other parameter too long",
    "Immediate execution impossible",
    "Requested node configuration is not available",
    "Requested partition configuration not available now",
    "Requested nodes are busy",
    "Invalid node name specified",
    "Task distribution specification invalid",
    "Task count specification invalid",
    "Invalid feature specification",
    "Requested operation not supported on this system",
    "Requested operation is presently disabled",
    "Job dependency problem",
    "Memory required by task is not available",
    "Memory specification can not be satisfied",
    "Invalid account or account/partition combination specified",
    "Invalid qos specification",
    "Invalid wckey specification",
    "Invalid license specification",
    "Job violates accounting/QOS policy",
    "Requested time limit is invalid",
    "Access denied to requested reservation",
    "Requested reservation",
    "Invalid time specified",
    "Job cannot be submitted without the current working directory",
    "Required node not available",
    "CPU count specification invalid",
    "Required partition not available",
    "Invalid generic resource (gres) specification",
    "Invalid GRES specification",
    "Requested GRES option unsupported",
    "Duplicate generic resource (gres) specification",
    "Requested account has breached requested QOS usage threshold",
    "Invalid mcs_label specified",
    "Partition in DOWN state",
    "System submissions disabled",
    "Invalid Trackable RESource",
    "Job can not start due to maintenance reservation",
    "Invalid --nice value",
    "Invalid time-min specification",
    "Multiple partition job request not supported",
    "Cannot request more threads per core than the job allocation",
    "Insufficient GRES available in allocation",
    "Invalid or unknown association",
    "Invalid QOS specification",
    "Invalid extra constraints specification",
    "RestrictedCoresPerGPU",
    "Requested topology configuration is not available",
    "Unable to allocate resources",
    "This does not look like a batch script",
    "Batch script is empty",
    "Batch script contains",
    "unrecognized option",
    "Invalid directive found in batch script",
    "Invalid --",
    "Invalid node count",
    "Invalid time limit",
    "Invalid argument",
    "invalid number of",
    "Invalid numeric value",
    "Invalid generic resource",
    "is not a valid",
    "Memory specification",
)
"""Of slurmctld, of a site's own job_submit script through it, and of sbatch before it has asked anybody."""


class Answer(Enum):
    """What a command's failure says."""

    SILENT = auto()
    REFUSED = auto()
    UNKNOWN_JOB = auto()


def judge(complaint: str) -> Answer:
    """Of a command that failed, by what it wrote to standard error."""
    if any(words in complaint for words in _SILENT):
        return Answer.SILENT
    if any(words in complaint for words in _UNKNOWN_JOB):
        return Answer.UNKNOWN_JOB
    if any(words in complaint for words in _NO):
        return Answer.REFUSED
    return Answer.SILENT


def in_its_words(complaint: str) -> str:
    """One line of what it wrote, without the name of the command before each."""
    lines = [line.partition("error: ")[2] or line for line in complaint.splitlines()]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))[:500]
