"""What is in a cluster's directory, as the agent reads it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from matrix_slurm_bridge.agent import files
from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.agent.said import read_said
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.record import FILE, HeadRecord
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus
from tests.unit.slurm_agent.samples import NOW, UID, tag

HEIR = tag(serial=2)


@pytest.fixture
def directory(tmp_path: Path) -> ClusterDirectory:
    made = ClusterDirectory(tmp_path / UID)
    files.prepare(made, UID)
    return made


def put(directory: ClusterDirectory, serial: int) -> None:
    (directory.path / FILE).write_text(HeadRecord(uid=UID, attempt=1, serial=serial, up=True).model_dump_json(by_alias=True))


def test_a_head_stands_by_until_its_mark_is_gone_or_it_has_begun_by_itself(directory: ClusterDirectory) -> None:
    put(directory, 1)
    files.stand_by(directory, HEIR, True)
    said = read_said(directory, [tag(), HEIR])
    assert said.standing_by == {HEIR} and said.prepared == frozenset() and not said.well(HEIR) and said.well(tag())
    status = NodeStatus(phase=NodePhase.STANDBY).model_dump_json(by_alias=True)
    directory.status_file(HEIR).write_text(status)
    assert read_said(directory, [tag(), HEIR]).prepared == {HEIR}
    put(directory, 2)
    assert read_said(directory, [tag(), HEIR]).standing_by == frozenset()
    put(directory, 1)
    files.stand_by(directory, HEIR, False)
    assert read_said(directory, [tag(), HEIR]).standing_by == frozenset()
    files.stand_by(directory, HEIR, False)


def test_when_a_worker_was_asked_to_drain_is_known_to_the_next_agent(directory: ClusterDirectory) -> None:
    assert read_said(directory, [tag("gpu")]).draining == {}
    files.ask_to_drain(directory, tag("gpu"), NOW)
    assert read_said(directory, [tag("gpu"), tag("gpu", 1)]).draining == {tag("gpu"): NOW}
    directory.drain_file(tag("gpu", 1)).touch()  # by hand
    asked = read_said(directory, [tag("gpu", 1)]).draining[tag("gpu", 1)]
    assert asked - NOW > timedelta(0), "by the file's own time"


@pytest.mark.parametrize("of", [HEIR, tag("gpu")])
def test_what_can_not_be_read_is_not_taken_for_absent(directory: ClusterDirectory, of: object) -> None:
    for file in (directory.standby_file(HEIR), directory.drain_file(tag("gpu"))):
        file.mkdir()
    with pytest.raises(Unusable):
        read_said(directory, [of])  # type: ignore[list-item]
