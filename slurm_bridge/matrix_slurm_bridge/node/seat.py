"""head.json as the head writes it and the workers read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from matrix_slurm_bridge.node.errors import NodeFailure, Superseded
from matrix_slurm_bridge.node.plan import NodePlan
from matrix_slurm_bridge.node.record import FILE, HeadPorts, HeadRecord
from matrix_store.files import replace_file

PATIENCE_SECONDS = 30.0
"""For a shared directory that can't be read or written at the moment."""
_PAUSE_SECONDS = 1.0


def read_record(directory: Path) -> HeadRecord | None:
    """None: not known. Opened anew each time, for network file systems remember that a file was absent, and what was in it."""
    try:
        return HeadRecord.model_validate_json((directory / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def stands_by(plan: NodePlan) -> bool:
    """Whether the agent wants this head to wait: also if that can't be read, for there is a head that works."""
    try:
        return plan.directory.stands_by(plan.tag)
    except OSError:
        return True


@dataclass
class Seat:
    """The place of the head, of which a cluster has one. Who writes last among equals has it, so two can't both believe it for longer than
    they look: each that sees a later head's record, or another's of the same fence, ends itself; one that sees an earlier head's writes its
    own again."""

    plan: NodePlan
    own: HeadRecord
    sleep: Callable[[float], None] = time.sleep
    waits: bool = field(default=False, init=False)
    """It stands by: another one has the place, and nothing is written until `is_up`."""
    _unread: bool = field(default=False, init=False)
    """The last look found no record that can be read."""

    def look(self) -> HeadRecord | None:
        """Who has it; None: not known. Raises Superseded, NodeFailure."""
        found = read_record(self.plan.directory.path)
        self._check(found)
        return found

    def take(self) -> None:
        """Raises Superseded, NodeFailure."""
        self.look()
        self._write_soon()

    def hold(self) -> None:
        """Called every few seconds. Raises Superseded. A record that can't be read says nothing; one that can't be read the next time
        either is damaged or gone, and is written again: by a later head, too, which has the last word."""
        if self.waits:
            self.look()
            return
        found = read_record(self.plan.directory.path)
        first, self._unread = found is None and not self._unread, found is None
        if first:
            return
        self._check(found)
        if found != self.own:
            self._try_write()

    def is_up(self) -> None:
        """Ray has answered: workers may join. `hold` writes it again if it can't be written now. Raises Superseded."""
        self.look()
        self.waits = False
        self.own = self.own.model_copy(update={"up": True})
        self._try_write()

    def move(self, ports: HeadPorts) -> None:
        """The servers are on other ports. Raises Superseded, NodeFailure."""
        self.own = self.own.model_copy(update={"ports": ports})
        if not self.waits:
            self.take()

    def _check(self, found: HeadRecord | None) -> None:
        if found is None:
            return
        if found.uid != self.plan.tag.uid:
            raise NodeFailure(f"{self.plan.directory.path / FILE} is that of another cluster ({found.uid}), not of {self.plan.tag.uid}")
        if found.fence > self.own.fence:
            raise Superseded(f"a later head is the one now (job {found.job_id or 'not started yet'} {found.host})".rstrip())
        if found.fence == self.own.fence and found.host and _who(found) != _who(self.own):
            raise Superseded(f"this very job runs already on {found.host}, since {found.started_at}")

    def _write_soon(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (error := self._try_write()) is not None:
            if time.monotonic() >= deadline:
                fact = f"the shared directory {self.plan.directory.path} can't be written to: {error.strerror}"
                raise NodeFailure(f"{fact}; make it writable, or free some space there")
            self.sleep(_PAUSE_SECONDS)

    def _try_write(self) -> OSError | None:
        try:
            replace_file(self.plan.directory.path / FILE, self.own.model_dump_json(by_alias=True).encode())
        except OSError as error:
            return error
        return None


def _who(record: HeadRecord) -> tuple[str, str, datetime | None]:
    return record.job_id, record.host, record.started_at
