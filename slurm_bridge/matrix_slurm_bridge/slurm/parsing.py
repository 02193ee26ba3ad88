"""What Slurm's commands print, read. Only formats of our own are asked for (squeue's -O, sinfo's -o, sacct's -P): they are the same from
22.05 to 25.x, where the JSON of each version is another one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from matrix_slurm_bridge.slurm import names
from matrix_slurm_bridge.slurm.port import Job, JobPhase, Partition
from matrix_slurm_bridge.slurm.states import phase_of

FIELD = "\x1f"
RECORD = "\x1e"
"""What ends a field and a record. A person's job name or comment may have any other sign in it, new lines too."""
QUEUE_FIELDS = (
    "JobID",
    "State",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "TimeLimit",
    "BatchHost",
    "Partition",
    "RestartCnt",
    "exit_code",
    "PriorityLong",
    "Reason",
    "Name",
    "Comment",
)
QUEUE_FORMAT = ",".join(f"{field}:{FIELD}" for field in QUEUE_FIELDS[:-1]) + f",{QUEUE_FIELDS[-1]}:{RECORD}"
"""Of `squeue --Format`: a field with a suffix and no width is printed in full."""
LINE_FIELDS = ("JobID", "Partition", "PriorityLong")
LINE_FORMAT = ",".join(f"{field}:{FIELD}" for field in LINE_FIELDS[:-1]) + f",{LINE_FIELDS[-1]}:{RECORD}"
PAST_FIELDS = ("JobIDRaw", "State", "Submit", "Start", "End", "NodeList", "Partition", "ExitCode", "Reason", "JobName", "Comment")
PARTITION_FORMAT = FIELD.join(("%P", "%a", "%D", "%c", "%m", "%G", "%l"))
_NO_LIMIT = frozenset(("infinite", "UNLIMITED"))
_A_YEAR = "365-00:00:00"
"""The limit of a job that was asked for without one, where none is set, and that the backfill scheduler has started (YEAR_MINUTES)."""
_NOTHING = frozenset(("", "N/A", "NONE", "None", "Unknown", "n/a", "(null)", "None assigned"))


def queue(text: str) -> Iterator[Job]:
    """Of `squeue --Format=QUEUE_FORMAT`: our jobs, in its order. What is not in our names is left out."""
    for values in _records(text, QUEUE_FIELDS):
        if job := _queued(values):
            yield job


def _queued(values: Mapping[str, str]) -> Job | None:
    tag = names.parse(values["Name"], values["Comment"])
    if tag is None:
        return None
    phase = phase_of(values["State"])
    waits, over = phase is JobPhase.WAITING, phase in (JobPhase.ENDED, JobPhase.LOST)
    start, end = _time(values["StartTime"]), _time(values["EndTime"])
    return Job(
        id=values["JobID"],
        tag=tag,
        phase=phase,
        state=values["State"],
        reason=_word(values["Reason"]),
        submitted_at=_required_time(values["SubmitTime"]),
        started_at=None if waits else start,
        expected_start=start if waits else None,
        ends_at=None if waits or over or values["TimeLimit"] in (*_NO_LIMIT, _A_YEAR) else end,
        ended_at=end if over else None,
        host=_word(values["BatchHost"]),
        partition=values["Partition"],
        restarts=int(values["RestartCnt"]),
        exit_code=exit_code(values["exit_code"]) if over else "",
    )


def past(text: str) -> Iterator[Job]:
    """Of `sacct --parsable2 --delimiter=FIELD --format=PAST_FIELDS`, where a record is a line: our jobs, as the accounting has them; none
    where the site does not store comments (AccountingStoreFlags), since a name alone does not say which job it was."""
    for line in text.splitlines():
        parts = line.split(FIELD)
        if len(parts) == len(PAST_FIELDS):
            yield from _past(dict(zip(PAST_FIELDS, parts, strict=True)))


def _past(values: Mapping[str, str]) -> Iterator[Job]:
    tag = names.parse(values["JobName"], values["Comment"])
    if tag is None:
        return
    state = values["State"].partition(" ")[0]  # "CANCELLED by 1000"
    yield Job(
        id=values["JobIDRaw"],
        tag=tag,
        phase=phase_of(state),
        state=state,
        reason=_word(values["Reason"]),
        submitted_at=_required_time(values["Submit"]),
        started_at=_time(values["Start"]),
        ended_at=_time(values["End"]),
        host=_word(values["NodeList"]),
        partition=values["Partition"],
        exit_code=values["ExitCode"],
    )


def positions(text: str) -> Mapping[str, int]:
    """Of `squeue --Format=LINE_FORMAT` with all waiting jobs: by number, the place of each in its partition, from 1; those of the same
    priority in the order of their numbers, as Slurm takes them."""
    lines: dict[str, list[tuple[int, int]]] = {}
    for values in _records(text, LINE_FIELDS):
        for partition in values["Partition"].split(","):
            lines.setdefault(partition, []).append((-int(values["PriorityLong"]), int(values["JobID"])))
    placed = ((str(number), place) for line in lines.values() for place, (_, number) in enumerate(sorted(line), 1))
    best: dict[str, int] = {}
    for number, place in placed:
        best[number] = min(place, best.get(number, place))
    return best


def partitions(text: str) -> Sequence[Partition]:
    """Of `sinfo -o PARTITION_FORMAT`, which has a line for each kind of node in a partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        parts = line.split(FIELD)
        if len(parts) == 7:
            one = _partition(parts)
            found[one.name] = _together(found[one.name], one) if one.name in found else one
    return list(found.values())


def _partition(parts: Sequence[str]) -> Partition:
    name, up, nodes, cpus, memory, gres, limit = parts
    return Partition(
        name=name.removesuffix("*"),
        default=name.endswith("*"),
        up=up == "up",
        nodes=int(nodes),
        cpus=int(cpus.rstrip("+")),
        memory_mb=int(memory.rstrip("+")),
        gres=tuple(part for part in re.split(r",(?![^(]*\))", gres) if part not in _NOTHING),
        time_limit=duration(limit),
    )


def _together(one: Partition, other: Partition) -> Partition:
    return Partition(
        name=one.name,
        default=one.default,
        up=one.up,
        nodes=one.nodes + other.nodes,
        cpus=min(one.cpus, other.cpus),
        memory_mb=min(one.memory_mb, other.memory_mb),
        gres=tuple(dict.fromkeys((*one.gres, *other.gres))),
        time_limit=one.time_limit,
    )


def duration(text: str) -> timedelta | None:
    """`days-hours:minutes:seconds`, of which the front may be missing; None for one without a limit."""
    if text in _NO_LIMIT or text in _NOTHING:
        return None
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return timedelta(days=int(days or 0), seconds=seconds)


def exit_code(text: str) -> str:
    """`status:signal`: squeue gives the number that wait(2) gave (22.05), or writes it so itself."""
    if ":" in text or not text.isdigit():
        return text
    number = int(text)
    return f"0:{signal}" if (signal := number & 0x7F) else f"{number >> 8}:0"


def settings(text: str) -> Mapping[str, str]:
    """Of `scontrol show config`: the lines `Key = value`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def _records(text: str, fields: Sequence[str]) -> Iterable[Mapping[str, str]]:
    for record in text.split(RECORD):
        parts = record.lstrip("\n").split(FIELD)
        if len(parts) == len(fields):
            yield dict(zip(fields, parts, strict=True))


def _word(text: str) -> str:
    return "" if text in _NOTHING else text


def _required_time(text: str) -> datetime:
    """Raises ValueError."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _time(text: str) -> datetime | None:
    return None if text in _NOTHING else _required_time(text)


def settings_time(text: str) -> datetime:
    """BOOT_TIME of `settings`. Raises ValueError."""
    return _required_time(text)
