from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from matrix_operator.backends.local.journal import PartRecord
from matrix_operator.backends.local.logs import last_words, output_files
from matrix_operator.backends.local.restart import backoff, is_due, noticed_dead, sockets, with_fresh_node_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "ab" * 28, "cd" * 28
RAYLET = (
    "/ray/raylet",
    "--raylet_socket_name=/tmp/mx-1/ray/s/sockets/raylet",
    "--store_socket_name=/tmp/mx-1/ray/s/sockets/plasma_store",
    f"--node_id={OLD}",
    "--static_resource_list=CPU,2",
    "--stdout_filepath=/tmp/mx-1/ray/s/logs/raylet.out",
    f"--dashboard_agent_command=python agent.py --node-id={OLD} --gcs-address=127.0.0.1:1",
    f"--runtime_env_agent_command=python main.py --node-id={OLD}",
)


def test_a_raylet_gets_a_fresh_node_id_everywhere_and_nothing_else_changes() -> None:
    assert with_fresh_node_id(RAYLET, NEW) == (
        "/ray/raylet",
        "--raylet_socket_name=/tmp/mx-1/ray/s/sockets/raylet",
        "--store_socket_name=/tmp/mx-1/ray/s/sockets/plasma_store",
        f"--node_id={NEW}",
        "--static_resource_list=CPU,2",
        "--stdout_filepath=/tmp/mx-1/ray/s/logs/raylet.out",
        f"--dashboard_agent_command=python agent.py --node-id={NEW} --gcs-address=127.0.0.1:1",
        f"--runtime_env_agent_command=python main.py --node-id={NEW}",
    )


def test_a_fresh_node_id_is_random_and_as_long_as_ray_wants_it() -> None:
    first, second = (with_fresh_node_id(RAYLET)[3] for _ in range(2))
    assert first != second and len(first) == len(f"--node_id={OLD}")


def test_the_gcs_and_the_dashboard_keep_their_command_line() -> None:
    gcs = ("/ray/gcs_server", "--gcs_server_port=1", f"--node-id={OLD}")
    assert with_fresh_node_id(gcs) == gcs and sockets(gcs) == []


def test_a_raylets_sockets_are_known() -> None:
    assert sockets(RAYLET) == [Path("/tmp/mx-1/ray/s/sockets/raylet"), Path("/tmp/mx-1/ray/s/sockets/plasma_store")]


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0), (2, 2), (3, 4), (6, 32), (7, 60), (60, 60)])
def test_the_wait_doubles_up_to_a_minute(failures: int, seconds: int) -> None:
    assert backoff(failures) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("passed", "due"), [(9.9, False), (10, True), (-1, True), (-1e6, True), (1e6, True)])
def test_a_clock_that_jumps_does_not_make_a_wait_longer(passed: float, due: bool) -> None:
    assert is_due(NOW, timedelta(seconds=10), NOW + timedelta(seconds=passed)) is due


def test_quick_deaths_are_counted_and_a_long_life_forgets_them() -> None:
    record = PartRecord(part="gcs", argv=("x",), started_at=NOW, quick_deaths=2)
    assert noticed_dead(record, NOW + timedelta(seconds=5)).quick_deaths == 3
    assert noticed_dead(record, NOW + timedelta(seconds=31)).quick_deaths == 0
    assert noticed_dead(record, NOW + timedelta(seconds=5)).died_at == NOW + timedelta(seconds=5)


def test_the_last_words_are_the_errors_else_the_output(tmp_path: Path) -> None:
    out, err = tmp_path / "my-part.out", tmp_path / "my-part.err"
    record = PartRecord(part="gcs", argv=("x", f"--stdout-filepath={out}", f"--stderr-filepath={err}"), started_at=NOW)
    assert last_words(record) == "it wrote nothing"
    out.write_text("one\n\n  two \n")
    err.write_text("")
    assert last_words(record) == "one | two"
    err.write_text("\n".join(f"line {number}" for number in range(99)))
    assert last_words(record, lines=2) == "line 97 | line 98"
    assert output_files(record) == [err, out]
