"""The words of a node: its plan, its status, and what Ray said last."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node import session
from matrix_slurm_bridge.node.errors import NodeFailure
from matrix_slurm_bridge.node.parts import last_words, node_id, prepared_again, tail
from matrix_slurm_bridge.node.plan import parse
from matrix_slurm_bridge.node.record import Fence
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus, StatusFile, read_status
from tests.unit.slurm_node.builders import NOW
from tests.unit.slurm_render.test_scripts import SCRIPTS

RAYLET = """[2026-11-30 02:29:50,000 I 2716 2716] (raylet) main.cc:1: Starting
[2026-11-30 02:29:50,993 C 2716 2716] (raylet) node_manager.cc:3588:  An unexpected system state has occurred. You have likely discovered \
a bug in Ray. Please report this issue at https://github.com/ray-project/ray/issues and we'll work with you to fix it. Check failed: x
*** StackTrace Information ***
/env/raylet(+0xfc0d92) [0x55e8cb2c7d92] boost::asio::io_context::run()
"""
PYTHON = """Traceback (most recent call last):
  File "/env/dashboard.py", line 3, in <module>
OSError: [Errno 98] Address already in use
"""


def arguments(script: str) -> list[str]:
    """Those of the program, as bash would give them."""
    _, _, text = script.partition("-m matrix_slurm_bridge.node ")
    return text.replace("\\\n", " ").split()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_program_understands_what_the_script_says(name: str) -> None:
    found = parse(arguments(SCRIPTS[name]), {"SLURM_JOB_ID": "7"})
    assert found.command == name.partition("-")[0]
    assert f"#SBATCH --comment={found.tag.comment}\n" in SCRIPTS[name]
    assert found.job_id == "7" and found.restart == 0


def test_a_full_worker() -> None:
    found = parse(arguments(SCRIPTS["worker-full"]), {"SLURM_RESTART_COUNT": "2"})
    assert found.fence == Fence(3, 2, 2)
    assert (found.cpus, found.gpus, found.accelerator, found.memory) == (16, 2, "H100", 120 * 2**30)
    assert found.resources == {"sandbox-slots": 8.0, "fast.disk": 0.5}
    assert found.ports == range(25_000, 26_000) and found.grace.total_seconds() == 600


def test_every_run_of_a_job_has_a_marker_of_its_own() -> None:
    words = arguments(SCRIPTS["head-plain"])
    assert parse(words, {}).marker != parse(words, {}).marker


def test_ray_is_quoted_by_its_errors_and_not_by_its_stack(tmp_path: Path) -> None:
    file = tmp_path / "raylet.err"
    file.write_text(RAYLET)
    assert tail(file) == "[2026-11-30 02:29:50,993 C 2716 2716] (raylet) node_manager.cc:3588:  Check failed: x"
    file.write_text(PYTHON)
    assert tail(file) == "OSError: [Errno 98] Address already in use"
    file.write_text("one\n\ntwo\nthree\n")
    assert tail(file, 2) == "two | three" and tail(tmp_path / "none") == ""


def test_a_part_is_quoted_from_the_first_of_its_files_that_says_something(tmp_path: Path) -> None:
    err, out = tmp_path / "gcs.err", tmp_path / "gcs.out"
    err.touch()
    argv = [f"--stdout_filepath={out}", f"--stderr_filepath={err}"]
    assert last_words(argv) == "it wrote nothing"
    out.write_text("no space left on device\n")
    assert last_words(argv) == "no space left on device"


def test_a_raylet_is_started_again_under_another_id_with_its_agents_ports(tmp_path: Path) -> None:
    old = "ab" * 28
    (tmp_path / f"metrics_agent_port_{old}").write_text("20009")
    socket = tmp_path / "raylet"
    socket.touch()
    argv = [f"--raylet_socket_name={socket}", f"--node_id={old}", f"--session_dir={tmp_path}", f"--command=agent --node-id={old}"]
    again = prepared_again(argv)
    fresh = node_id(again)
    assert fresh and fresh != old and len(fresh) == len(old) and old not in "".join(again) and again[3].endswith(fresh)
    assert (tmp_path / f"metrics_agent_port_{fresh}").read_text() == "20009" and not socket.exists()


def test_a_status_is_written_when_it_changes_and_can_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "gpu-0-1-1.json"
    status = StatusFile(path, NodeStatus(phase=NodePhase.STARTING, job_id="7"), lambda: NOW)
    status.place("10.0.0.2", {"gcs": 20_001})
    status.say(NodePhase.RUNNING, head=Fence(1, 2, 0))
    found = read_status(path)
    assert found == NodeStatus(
        phase=NodePhase.RUNNING, job_id="7", since=NOW, address="10.0.0.2", ports={"gcs": 20_001}, head=Fence(1, 2, 0)
    )
    path.unlink()
    status.say(NodePhase.RUNNING, head=Fence(1, 2, 0))
    assert not path.exists()
    status.say(NodePhase.FAILED, "why", ClusterReason.PORT_TAKEN)
    found = read_status(path)
    assert found is not None and (found.phase, found.reason, found.message) == (NodePhase.FAILED, "PortTaken", "why")


def test_a_directory_that_takes_no_status_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = StatusFile(tmp_path / "gone" / "x.json", NodeStatus(phase=NodePhase.STARTING), lambda: NOW)
    status.say(NodePhase.RUNNING)
    assert "can't be written" in capsys.readouterr().err
    (tmp_path / "gone").mkdir()
    status.say(NodePhase.RUNNING)
    assert read_status(tmp_path / "gone" / "x.json") is not None


@pytest.mark.parametrize("text", ["", "{", '{"phase": "Dancing"}'])
def test_half_a_status_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_status(tmp_path / "x.json") is None


def test_another_ray_than_the_one_asked_for_is_told_before_anything_starts() -> None:
    with pytest.raises(NodeFailure, match=r"spec\.ray\.version is 1\.2\.3") as caught:
        session.check_ray("1.2.3")
    assert caught.value.reason is ClusterReason.RAY_VERSION_MISMATCH


def test_the_object_store_fits_the_node_and_its_shared_memory() -> None:
    gib = 2**30
    assert session.object_store_memory(64 * gib, 64 * gib) == 2 * gib
    assert session.object_store_memory(10 * gib, 64 * gib) == gib
    assert session.object_store_memory(64 * gib, gib) == gib // 2
    assert session.object_store_memory(gib // 2, gib // 16) == 75 * 2**20
