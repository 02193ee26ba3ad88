"""A worker's job: joins the head, waits for another one when that is lost, joins again. Its GPUs are not given back in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.errors import Ended, NodeFailure, Superseded
from matrix_slurm_bridge.node.launch import Launch
from matrix_slurm_bridge.node.network import answers
from matrix_slurm_bridge.node.parts import RAYLET, last_words, node_id
from matrix_slurm_bridge.node.places import remove_session
from matrix_slurm_bridge.node.ports import claim_block
from matrix_slurm_bridge.node.record import HeadRecord
from matrix_slurm_bridge.node.seat import read_record
from matrix_slurm_bridge.node.session import LOOK_SECONDS, Session
from matrix_slurm_bridge.node.status import NodePhase, read_status

DRAIN_SECONDS = 120.0
"""The longest that a draining worker waits for its replicas to finish."""
_SILENT_SECONDS = 10.0
"""A head that takes no connection for so long is said to be lost."""
_LONGEST_PAUSE = 30.0
_CONNECT_SECONDS = 2.0


class WorkerProgram:
    def __init__(self, session: Session, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._now = monotonic
        self._heard_at = monotonic()
        """When a head answered last, or this program began."""
        self._failures = 0
        self._refusal = ""

    def run(self) -> None:
        """Returns never: raises Ended, Superseded, NodeFailure."""
        session = self._session
        session.check()
        while True:
            head = self._wait_for_head()
            if self._join(head):
                self._stay(head)
            session.kill()

    def _wait_for_head(self) -> HeadRecord:
        """One that is up and answers."""
        pause_until = self._now() + (min(2.0**self._failures, _LONGEST_PAUSE) if self._failures else 0.0)
        while True:
            record = self._record()
            if record is not None and record.up and self._answers(record):
                if self._now() >= pause_until:
                    return record
                self._session.status.say(NodePhase.RECOVERING, f"joining the head again in a moment: {self._refusal}")
            else:
                self._say_waiting(record)
                self._check_grace()
            self._session.wait(LOOK_SECONDS if self._failures else 0.5)
            self._check_drain()

    def _record(self) -> HeadRecord | None:
        """Of the head of this attempt. Raises Superseded if the cluster is made anew, or this very job runs again elsewhere: a machine
        whose slurmd has died goes on with what it runs."""
        word = read_status(self._session.plan.directory.status_file(self._session.plan.tag))
        if word is not None and word.restart > self._session.plan.restart:
            raise Superseded(f"Slurm runs this job again, on {word.host}")
        record = read_record(self._session.plan.directory.path)
        if record is None or record.attempt < self._session.plan.tag.attempt:
            return None
        if record.attempt > self._session.plan.tag.attempt:
            raise Superseded("the cluster has been made anew: this job is of the former one")
        return record

    def _answers(self, record: HeadRecord) -> bool:
        assert record.ports is not None
        heard = answers(record.address, record.ports.gcs, _CONNECT_SECONDS)
        if heard:
            self._heard_at = self._now()
        return heard

    def _say_waiting(self, record: HeadRecord | None) -> None:
        phase = NodePhase.STARTING if self._session.status.status.phase is NodePhase.STARTING else NodePhase.RECOVERING
        if record is None or not record.host:
            message = "waiting for the head's job to start"
        elif not record.up:
            message = f"waiting for the head on {record.host} to come up"
        else:
            message = f"the head on {record.host} does not answer; waiting for it, or for another one"
        self._session.status.say(phase, message)

    def _check_grace(self) -> None:
        grace = self._session.plan.grace
        if timedelta(seconds=self._now() - self._heard_at) > grace:
            fact = f"no head for {int(grace.total_seconds())} s (headLossGraceSeconds of the profile): the job gives its node back"
            raise NodeFailure(fact, ClusterReason.HEAD_NOT_READY)

    def _join(self, head: HeadRecord) -> bool:
        """Whether this node is in the head's cluster now. A refusal is told and tried again, one that can't heal ends the job."""
        session = self._session
        assert head.ports is not None
        session.turn_to(head.address)
        remove_session(session.place)
        block = claim_block(session.plan.tag.uid + session.plan.tag.node_name, session.plan.ports)
        session.status.place(session.address, block.ports)
        phase = NodePhase.RECOVERING if session.status.status.phase is not NodePhase.STARTING else NodePhase.STARTING
        session.status.say(phase, f"joining the head on {head.host}")
        try:
            launch = Launch(session.environment, session.place.directory)
            session.launch(launch, block, f"{head.address}:{head.ports.gcs}", self._check_drain)
        except NodeFailure as failure:
            if failure.reason is ClusterReason.RAY_VERSION_MISMATCH:
                raise
            self._failures, self._refusal = self._failures + 1, failure.message
            block.close()
            return False
        self._block = block
        session.status.say(NodePhase.RUNNING, head=head.fence)
        return True

    def _stay(self, head: HeadRecord) -> None:
        """As long as the raylet lives and there is no later head that is up."""
        session = self._session
        joined_at = self._now()
        while session.parts[RAYLET].alive:
            session.wait(LOOK_SECONDS)
            self._check_drain()
            record = self._record()
            if record is not None and record.up and record.fence > head.fence:
                session.status.say(NodePhase.RECOVERING, f"leaving the former head for that on {record.host}")
                self._failures = 0
                break
            self._watch(head)
        else:
            quick = self._now() - joined_at < _LONGEST_PAUSE
            self._failures = self._failures + 1 if quick else 0
            self._refusal = f"Ray's raylet ended: {last_words(session.parts[RAYLET].argv)}"
            session.status.say(NodePhase.RECOVERING, self._refusal)
        self._block.close()

    def _watch(self, head: HeadRecord) -> None:
        """The models go on without a head; how long is the grace."""
        if self._answers(head):
            self._session.status.say(NodePhase.RUNNING, head=head.fence)
        elif self._now() - self._heard_at > _SILENT_SECONDS:
            self._say_waiting(self._record())
            self._check_grace()

    def _check_drain(self) -> None:
        """Raises Ended, drained as far as time allowed."""
        session = self._session
        if not session.drain_asked():
            return
        raylet = session.parts.get(RAYLET)
        record = self._record()
        if raylet is not None and raylet.alive and record is not None and record.ports is not None:
            session.status.say(NodePhase.RECOVERING, "draining: its work moves to other nodes", head=session.status.status.head)
            arguments = [f"{record.address}:{record.ports.gcs}", node_id(raylet.argv) or "", str(DRAIN_SECONDS)]
            if session.run_helper("matrix_slurm_bridge.node.ray_drain", *arguments, seconds=60):
                deadline = self._now() + DRAIN_SECONDS
                while raylet.alive and self._now() < deadline:
                    session.wait(1.0)
        raise Ended("drained" if not session.signals.time_is_short else "drained: its time limit is near")
