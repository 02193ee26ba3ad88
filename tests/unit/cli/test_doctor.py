"""`matrix doctor`: each judgement, and the whole of it on this machine."""

from __future__ import annotations

import json
import os
import resource
import stat
import time
from pathlib import Path
from typing import Any

import click
import pytest

from matrix_cli.causes import OrphanedRay
from matrix_cli.commands.doctor import count, page
from matrix_cli.doctor import leftovers, machine, network, software, state
from matrix_cli.doctor.examine import examine
from matrix_cli.doctor.findings import GIB, Finding, State, ok, problem, warning
from matrix_cli.exits import Exit
from matrix_crds.constants import RAY_VERSION
from matrix_store.lock import Holder
from matrix_store.owner import Liveness, Owner
from tests.unit.cli.runner import run
from tests.unit.client.worlds import World

OK, WARNING, PROBLEM = State.OK, State.WARNING, State.PROBLEM
DISK = machine.Disk("model cache", Path("/data"), GIB, 20 * GIB)
OWNER = Owner("host", "boot", "pid:[1]", 4711, 1)
HOME = Path("/home/me/state")


def held(liveness: Liveness) -> Holder:
    return Holder(OWNER, liveness, {}, "token", 1)


JUDGEMENTS: list[tuple[Finding, State, str]] = [
    (software.judge_python((3, 11), ">=3.11,<3.14"), OK, ""),
    (software.judge_python((3, 10), "<3.14,>=3.11"), PROBLEM, "Matrix needs Python"),
    (software.judge_python((3, 14), ">=3.11,<3.14"), PROBLEM, "Matrix needs Python"),
    (software.judge_ray(RAY_VERSION), OK, ""),
    (software.judge_ray("2.40.0"), WARNING, "spec.ray.version: 2.40.0"),
    (software.judge_ray(None), PROBLEM, f"ray[default,serve]=={RAY_VERSION}"),
    (software.judge_engine("0.32.0", "2.13.0"), OK, ""),
    (software.judge_engine(None, None), WARNING, "matrix-operator[gpu]"),
    (software.judge_engine("0.32.0", None), PROBLEM, "install vLLM again"),
    (machine.judge_cpus(8, 8), OK, ""),
    (machine.judge_cpus(1, 8), WARNING, "slow starts"),
    (machine.judge_memory(16 * GIB, 32 * GIB), OK, ""),
    (machine.judge_memory(3 * GIB, 32 * GIB), WARNING, "small model"),
    (machine.judge_memory(GIB, 32 * GIB), PROBLEM, "end what uses it"),
    (machine.judge_shared_memory(8 * GIB), OK, ""),
    (machine.judge_shared_memory(64 * 2**20), WARNING, "--shm-size"),
    (machine.judge_disk(DISK, 100 * GIB, 0.2, writable=True), OK, ""),
    (machine.judge_disk(DISK, 5 * GIB, 0.2, writable=True), WARNING, "make room"),
    (machine.judge_disk(DISK, 100 * GIB, 0.97, writable=True), WARNING, "95%"),
    (machine.judge_disk(DISK, 2**20, 0.2, writable=True), PROBLEM, "make room"),
    (machine.judge_disk(DISK, 100 * GIB, 0.2, writable=False), PROBLEM, "choose another place"),
    (machine.judge_limit("open files", 1024, 65_536, "ulimit -n"), WARNING, "ulimit -n 65536"),
    (machine.judge_limit("open files", resource.RLIM_INFINITY, 65_536, "ulimit -n"), OK, ""),
    (machine.judge_gpus((), None, {}), OK, ""),
    (machine.judge_gpus(("0", "1"), ["H100, 80 GB, 570", "H100, 80 GB, 570"], {}), OK, ""),
    (machine.judge_gpus((), ["H100"], {"CUDA_VISIBLE_DEVICES": ""}), WARNING, "unset CUDA_VISIBLE_DEVICES"),
    (machine.judge_gpus(("0",), None, {}), WARNING, "driver's tools"),
    (network.judge_localhost(lambda: {"127.0.0.1"}), OK, ""),
    (network.judge_localhost(lambda: {"10.0.0.1"}), PROBLEM, "/etc/hosts"),
    (network.judge_ports(range(20_000, 21_000), {20_001, 80}, "32768\t60999\n"), OK, ""),
    (network.judge_ports(range(20_000, 21_000), set(), "1024\t60999\n"), WARNING, "ip_local_port_range"),
    (network.judge_ports(range(20_000, 20_300), set(range(20_000, 20_200)), ""), PROBLEM, "ss -tlnp"),
    (network.judge_proxy({"http_proxy": "http://proxy"}), WARNING, "export no_proxy=127.0.0.1,localhost"),
    (network.judge_proxy({}), OK, ""),
    (state.judge_directory(HOME, stat.S_IFDIR | 0o700, mine=True), OK, ""),
    (state.judge_directory(HOME, stat.S_IFDIR | 0o755, mine=True), WARNING, f"chmod 700 {HOME}"),
    (state.judge_directory(HOME, stat.S_IFDIR | 0o700, mine=False), PROBLEM, "MATRIX_HOME"),
    (state.judge_directory(HOME, stat.S_IFREG | 0o600, mine=True), PROBLEM, "MATRIX_HOME"),
    (state.judge_file_system("ext4"), OK, ""),
    (state.judge_file_system("nfs4"), WARNING, "local disk"),
    (state.judge_file_system(""), WARNING, "local disk"),
    (state.judge_controller(held(Liveness.ALIVE), 1, stopped=False), OK, ""),
    (state.judge_controller(held(Liveness.ALIVE), 1, stopped=True), PROBLEM, "kill -CONT 4711"),
    (state.judge_controller(held(Liveness.ELSEWHERE), 1, stopped=False), WARNING, "use Matrix there"),
    (state.judge_controller(held(Liveness.GONE), 1, stopped=False), PROBLEM, "matrix controller run --detach"),
    (state.judge_controller(None, 1, stopped=False), PROBLEM, "matrix controller run --detach"),
    (state.judge_controller(None, 0, stopped=False), OK, ""),
    (state.judge_clock(1_000.0, 1_030.0), OK, ""),
    (state.judge_clock(5_000.0, 1_000.0), WARNING, "set the clock"),
    (next(leftovers.judge_orphans([])), OK, ""),
    (next(leftovers.judge_orphans([OrphanedRay("uid-1", "/lost", "3 processes")])), WARNING, "matrix controller end-orphan uid-1"),
    (next(leftovers.judge_controllers([(4711, Path("/no/such/home"))])), WARNING, "kill 4711"),
]


@pytest.mark.parametrize(("finding", "wanted", "says"), JUDGEMENTS, ids=[f"{row[0].subject}-{n}" for n, row in enumerate(JUDGEMENTS)])
def test_a_judgement(finding: Finding, wanted: State, says: str) -> None:
    assert finding.state is wanted, finding
    assert says in finding.remedy
    assert (finding.remedy == "") == (wanted is OK)


def test_a_name_without_an_address() -> None:
    def fail() -> set[str]:
        raise OSError("no such name")

    assert network.judge_localhost(fail).state is PROBLEM


def test_missing_packages_are_named_together() -> None:
    (finding,) = software.judge_extras({"psutil": None, "aiohttp": "3", "filelock": None})

    assert finding.fact == "not installed: psutil, filelock"
    assert list(software.judge_extras({"psutil": "7"})) == []


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:5208 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:5209 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   0: 00000000000000000000000001000000:520A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_ports_that_listen_are_read_from_proc() -> None:
    assert network.listening(TCP) == {0x5208, 0x520A}


def test_only_old_directories_count_as_left_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3 * 2**20)
    touched = tmp_path.stat().st_mtime

    assert [finding.state for finding in leftovers.judge_directories([tmp_path], touched + 60)] == [OK]
    assert [finding.state for finding in leftovers.judge_directories([tmp_path / "gone"], touched + 7200)] == [OK]
    (stale,) = leftovers.judge_directories([tmp_path], touched + 7200)
    assert stale.state is WARNING
    assert stale.fact == "1 directory belongs to nothing that runs (3 MiB, up to 120m old)" and stale.remedy.endswith(f"rm -r {tmp_path}")


def test_the_page_says_what_to_do_and_counts() -> None:
    sections = {"One": [ok("a", "fine"), warning("long name", "so so", "do this")], "Two": [problem("b", "broken", "do that at once")]}
    lines = [click.unstyle(line) for line in page(sections, 40)]

    assert (count(sections, "problem"), count(sections, "warning")) == (1, 1)
    assert lines == [
        "One",
        "  ✓ a          fine",
        "  ! long name  so so",
        "               → do this",
        "Two",
        "  ✗ b          broken",
        "               → do that at once",
        "",
        "1 problem and 1 warning",
    ]


def records(world: World, code: Exit | None = None) -> dict[str, dict[str, Any]]:
    result = run(world, "doctor", "-o", "json")
    assert code is None or result.exit_code == code, result.stdout
    return {record["subject"]: record for record in json.loads(result.stdout)}


def test_it_looks_at_everything_quickly_and_changes_nothing(empty: World) -> None:
    before = sorted(path.name for path in empty.home.root.rglob("*"))
    began = time.process_time()
    found = records(empty)

    assert {"python", "ray", "haproxy", "memory", "cpus", "/dev/shm", "open files", "gpu", "ports", "localhost", "proxy"} <= set(found)
    assert found["python"]["state"] == found["loopback"]["state"] == "ok"
    assert sorted(path.name for path in empty.home.root.rglob("*")) == before
    assert time.process_time() - began < 5  # its own, not what others leave it


def test_what_is_wrong_with_the_state_is_found(world: World) -> None:
    world.home.root.chmod(0o755)
    found = records(world, Exit.FAILED)

    assert found["state directory"]["state"] == "warning"
    assert found["controller"]["state"] == "problem" and "not running" in found["controller"]["fact"]
    assert "2 objects, no damage" in found["state file"]["fact"]


def test_a_state_directory_that_is_not_there_is_not_made(empty: World, tmp_path: Path) -> None:
    result = run(empty, "doctor", "--home", tmp_path / "none", "-o", "json")

    assert any("not made yet" in record["fact"] for record in json.loads(result.stdout))
    assert not (tmp_path / "none").exists()


def test_a_controller_that_runs_is_well(managed: World) -> None:
    assert records(managed)["controller"]["fact"] == f"runs (process {os.getpid()})"


def test_a_damaged_state_file_is_a_problem(world: World) -> None:
    world.home.database.write_bytes(b"no database" * 100)

    assert records(world, Exit.FAILED)["state file"]["state"] == "problem"


def test_a_look_that_fails_hides_no_other(empty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(environ: object) -> Any:
        yield ok("first", "seen")
        raise RuntimeError("boom")

    monkeypatch.setattr(network, "look", broken)
    found = examine(empty.home, {})

    assert [finding.subject for finding in found["Network"]] == ["first", "this look"]
    assert "RuntimeError: boom" in found["Network"][1].fact
    assert found["State"] and found["Software"]
