"""Where the logs of a cluster are, and what a part said last."""

from __future__ import annotations

import os
import re
from pathlib import Path

from matrix_operator.backends.local.journal import LAUNCHER, Journal, JournalUnreadable, PartRecord
from matrix_operator.backends.local.places import session_directory
from matrix_store.home import Home

_TAIL_BYTES = 64 * 1024
_HEAD_CHARACTERS = 1024
_REPLICA = re.compile(r"^:actor_name:ServeReplica:([^:\n]+):([^:\n]+)$", re.MULTILINE)


def log_files(home: Home, uid: str) -> dict[str, Path]:
    """The log of each component that has one: launcher, gcs, dashboard, raylet, each worker <group>-<index>, serve/<name> for Serve's
    controller and each replica, and output/<application>_<deployment>_<pid> for what a replica and its engine printed. Empty when
    nothing was started."""
    journal = Journal(home, uid)
    found = {LAUNCHER: journal.launch_log, **{part: files[-1] for part, files in _part_files(journal).items()}}
    return {name: path for name, path in found.items() if path.exists()} | _session_files(journal)


def output_files(record: PartRecord) -> list[Path]:
    """Where a part writes to, errors first; Ray names the files in its argv, the dashboard's own log lies beside them."""
    split = (argument.partition("=") for argument in record.argv if argument.startswith("--std"))
    options = {name.removeprefix("--").replace("-", "_"): value for name, _, value in split}
    files = [Path(options[name]) for name in ("stderr_filepath", "stdout_filepath") if name in options]
    own_log = [file.with_suffix(".log") for file in files[-1:]]
    return files + [file for file in own_log if file.exists()]


def last_words(record: PartRecord, lines: int = 5) -> str:
    """The last lines that a part wrote, joined by ` | `."""
    return next((words for file in output_files(record) if (words := tail(file, lines))), "it wrote nothing")


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a file that are not empty, joined by ` | `; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " | ".join([line.strip()[:300] for line in text.splitlines() if line.strip()][-lines:])


def _part_files(journal: Journal) -> dict[str, list[Path]]:
    try:
        found = {part: output_files(record) for part, record in journal.parts().items()}
    except JournalUnreadable:
        return {}
    return {part: files for part, files in found.items() if files}


def _session_files(journal: Journal) -> dict[str, Path]:
    try:
        cluster = journal.cluster()
    except JournalUnreadable:
        return {}
    session = session_directory(Path(cluster.directory)) if cluster else None
    return {} if session is None else _serve_files(session / "logs" / "serve") | _printed_files(session / "logs")


def _serve_files(directory: Path) -> dict[str, Path]:
    return {f"serve/{path.stem}": path for path in sorted(directory.glob("*.log"))}


def _printed_files(directory: Path) -> dict[str, Path]:
    """What replicas printed, their engines' lines among it. Ray writes who it was at the head of worker-<id>-<job>-<pid>.out."""
    found = {}
    for path in sorted(directory.glob("worker-*.out")):
        if replica := _REPLICA.search(_head(path)):
            found[f"output/{replica[1]}_{replica[2]}_{path.stem.rpartition('-')[2]}"] = path
    return found


def _head(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(_HEAD_CHARACTERS)
    except OSError:
        return ""
