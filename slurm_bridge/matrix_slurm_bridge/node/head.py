"""The head's job: GCS, dashboard and raylet, looked after until Slurm or a later head ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.errors import NodeFailure
from matrix_slurm_bridge.node.launch import Launch
from matrix_slurm_bridge.node.network import answers_http
from matrix_slurm_bridge.node.parts import Part, last_words, prepared_again, spawn, started
from matrix_slurm_bridge.node.places import remove_session
from matrix_slurm_bridge.node.ports import Block, claim_block
from matrix_slurm_bridge.node.record import HeadPorts, HeadRecord
from matrix_slurm_bridge.node.seat import Seat, stands_by
from matrix_slurm_bridge.node.session import LOOK_SECONDS, Session
from matrix_slurm_bridge.node.status import NodePhase, read_status

_STARTS = 3
"""So often Ray is started before the job gives up: a stranger may take a port that was just free."""
_DASHBOARD_SECONDS = 180.0
_TURN_SECONDS = 0.5
"""How often a head that stands by looks whether it may begin."""
_QUICK_SECONDS = 30.0
_QUICK_DEATHS = 5
"""A part that ends so often, each time this soon after its start, does not get well here."""


class HeadProgram:
    def __init__(self, session: Session, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._now = monotonic
        self._looked_at = 0.0
        plan = session.plan
        self._seat = Seat(plan, _record(session), sleep=session.wait)
        self._deaths: dict[str, Deaths] = {}

    def run(self) -> None:
        """Returns never: raises Ended, Superseded, NodeFailure."""
        session = self._session
        launch = Launch(session.environment, session.place.directory)  # loads Ray while the rest is decided
        session.check()
        self._seat.waits = stands_by(session.plan)
        if not self._seat.waits:
            self._seat.take()
        self._start(launch)
        self._wait_for_dashboard()
        self._wait_for_turn()
        self._seat.is_up()
        session.status.say(NodePhase.RUNNING)
        while True:
            self._look_after(self._now())
            session.wait(1.0)
            self._hold()

    def _start(self, launch: Launch) -> None:
        session, passed = self._session, frozenset[int]()
        for left in reversed(range(_STARTS)):
            block = claim_block(session.plan.tag.uid + session.plan.tag.node_name, session.plan.ports, passed=passed)
            self._announce(block)
            try:
                session.launch(launch, block, None, self._hold)
                self._block = block
                return
            except NodeFailure as failure:
                if not left or failure.reason is ClusterReason.RAY_VERSION_MISMATCH:
                    raise
                session.starting(f"once more, since {failure.message}")
            if block.taken_by_others():
                passed |= {block.ports["claim"]}
            block.close()
            remove_session(session.place)
            launch = Launch(session.environment, session.place.directory)

    def _announce(self, block: Block) -> None:
        session, ports = self._session, block.ports
        session.status.place(session.address, ports)
        session.starting(session.status.status.message or "Ray's processes are being started")
        self._seat.move(
            HeadPorts(
                gcs=ports["gcs"],
                dashboard=ports["dashboard"],
                state=ports["state"],
                directory=ports["directory"],
                gateway=ports["gateway"],
            )
        )

    def _wait_for_dashboard(self) -> None:
        session, ports = self._session, self._seat.own.ports
        assert ports is not None
        session.starting("waiting for Ray's dashboard to answer")
        deadline = self._now() + _DASHBOARD_SECONDS
        while not answers_http(session.address, ports.dashboard, 2.0):
            if self._now() >= deadline:
                raise NodeFailure(f"Ray's dashboard does not answer after {_DASHBOARD_SECONDS:.0f} s: {self._words()}")
            self._look_after(self._now())
            session.wait(0.05)
            self._hold()

    def _wait_for_turn(self) -> None:
        """Nobody joins this Ray before: head.json names the former head's."""
        while self._seat.waits and stands_by(self._session.plan) and not self._former_has_ended():
            self._session.status.say(NodePhase.STANDBY, "stands by until the former head has ended")
            self._look_after(self._now())
            self._session.wait(_TURN_SECONDS)
        with suppress(OSError):  # it does not stand by any more, whoever said so
            self._session.plan.directory.standby_file(self._session.plan.tag).unlink(missing_ok=True)

    def _former_has_ended(self) -> bool:
        """By its own word. If it can't say so, the agent says that this one may begin."""
        former = self._seat.look()
        if former is None or not former.host:
            return False
        plan = self._session.plan
        word = read_status(plan.directory.status_file(replace(plan.tag, attempt=former.attempt, serial=former.serial)))
        return word is not None and word.restart == former.restart and word.phase in (NodePhase.ENDED, NodePhase.FAILED)

    def _words(self) -> str:
        return "; ".join(f"{name}: {last_words(part.argv, 2)}" for name, part in self._session.parts.items())

    def _hold(self) -> None:
        if self._now() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._now()
            self._seat.hold()

    def _look_after(self, now: float) -> None:
        """Start again what has died. What the GCS had stored is on this node's disk."""
        session = self._session
        recovering = ""
        for name, part in list(session.parts.items()):
            if part.alive:
                continue
            deaths = self._deaths.setdefault(name, Deaths())
            if deaths.note(part, now) >= _QUICK_DEATHS:
                raise NodeFailure(f"Ray's {name} ended again and again: {last_words(part.argv)}")
            recovering = f"Ray's {name} ended and is being started again: {last_words(part.argv, 2)}"
            if now >= deaths.again_at:
                argv = prepared_again(part.argv)
                session.parts[name] = started(name, argv, spawn(argv, session.environment, session.place.directory).pid)
                deaths.started_at = now
        if recovering:
            session.status.say(NodePhase.RECOVERING, recovering)
        elif session.status.status.phase is NodePhase.RECOVERING:
            session.status.say(NodePhase.RUNNING)


@dataclass
class Deaths:
    """Of one part."""

    quick: int = 0
    started_at: float = float("-inf")
    again_at: float = 0.0
    noted: set[Part] = field(default_factory=set)

    def note(self, part: Part, now: float) -> int:
        """Counts each death once; how many in a row were quick."""
        if part not in self.noted:
            self.noted = {part}
            self.quick = self.quick + 1 if now - self.started_at < _QUICK_SECONDS else 1
            self.again_at = now + (2.0 ** (self.quick - 1) if self.quick > 1 else 0.0)
        return self.quick


def _record(session: Session) -> HeadRecord:
    plan = session.plan
    return HeadRecord(
        uid=plan.tag.uid,
        attempt=plan.tag.attempt,
        serial=plan.tag.serial,
        restart=plan.restart,
        job_id=plan.job_id,
        host=session.status.status.host,
        address=session.address,
        started_at=session.clock(),
    )
