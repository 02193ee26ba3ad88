"""Where the logs of a cluster are, and what a part said last."""

from __future__ import annotations

import os
from pathlib import Path

from matrix_operator.backends.local.journal import LAUNCHER, Journal, JournalUnreadable, PartRecord
from matrix_operator.backends.local.places import session_directory
from matrix_store.home import Home

_TAIL_BYTES = 64 * 1024


def log_files(home: Home, uid: str) -> dict[str, Path]:
    """The log of each component that has one: launcher, gcs, dashboard, raylet, each worker <group>-<index>, and serve/<name> for
    Serve's controller and each replica. Empty when nothing was started."""
    journal = Journal(home, uid)
    found = {LAUNCHER: journal.launch_log, **{part: files[-1] for part, files in _part_files(journal).items()}}
    return {name: path for name, path in found.items() if path.exists()} | _serve_files(journal)


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


def _serve_files(journal: Journal) -> dict[str, Path]:
    try:
        cluster = journal.cluster()
    except JournalUnreadable:
        return {}
    session = session_directory(Path(cluster.directory)) if cluster else None
    return {f"serve/{path.stem}": path for path in sorted((session / "logs" / "serve").glob("*.log"))} if session else {}
