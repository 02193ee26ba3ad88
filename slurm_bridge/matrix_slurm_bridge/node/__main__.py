"""`python -m matrix_slurm_bridge.node head|worker ...`: what a job script runs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.ending import adopt_orphans, start_guardian
from matrix_slurm_bridge.node.errors import Ended, NodeFailure, Superseded
from matrix_slurm_bridge.node.head import HeadProgram
from matrix_slurm_bridge.node.network import own_address
from matrix_slurm_bridge.node.places import choose_place, make_place, remove_place
from matrix_slurm_bridge.node.plan import HEAD_COMMAND, NodePlan, parse
from matrix_slurm_bridge.node.session import Session
from matrix_slurm_bridge.node.signals import Signals
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus, StatusFile
from matrix_slurm_bridge.node.worker import WorkerProgram


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 if it ended as it was told to."""
    plan = parse(argv)
    signals = Signals()
    status = StatusFile(plan.directory.status_file(plan.tag), _first_status(plan), _now)
    try:
        _run(plan, status, signals)
    except (Ended, Superseded) as end:
        status.say(NodePhase.ENDED, str(end))
        return 0
    except NodeFailure as failure:
        status.say(NodePhase.FAILED, failure.message, failure.reason)
    except Exception as error:
        traceback.print_exc()
        status.say(NodePhase.FAILED, f"{type(error).__name__}: {error}; the job's log has the trace", ClusterReason.INTERNAL_ERROR)
    return 1


def _run(plan: NodePlan, status: StatusFile, signals: Signals) -> None:
    place = choose_place(plan.marker, plan.local_directory, os.environ)
    guardian = start_guardian(plan.marker, place)
    adopt_orphans()
    make_place(place)
    session = Session(plan, place, status, signals, os.environ, own_address(os.environ), guardian, _now)
    program = HeadProgram(session) if plan.command == HEAD_COMMAND else WorkerProgram(session)
    try:
        program.run()
    finally:
        session.say_goodbye()
        if not session.kill():
            remove_place(place)


def _first_status(plan: NodePlan) -> NodeStatus:
    host = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    return NodeStatus(phase=NodePhase.STARTING, restart=plan.restart, job_id=plan.job_id, host=host, pid=os.getpid())


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
