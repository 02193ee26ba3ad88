"""The state file in trouble, as the command line shows it: one line that says what to do, exit code 5, nothing half done.

Last, on one small cluster: what runs is not harmed when the store is, or when the whole state directory is lost.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from matrix_store.database import Database
from matrix_store.home import Home
from matrix_store.lock import ControllerLock
from matrix_store.owner import Owner, this_process
from tests.e2e.product.product import Product, cluster, dummy, until
from tests.fakes.full_disk import fill

FIELD = {"name": "field"}
LOGIN2 = Owner("login2", "another boot", "pid:[1]", 321, 99)
FOUR = {
    "get": ("get", "mxc"),
    "apply": ("apply", "{file}"),
    "up": ("up", "{file}"),
    "why": ("why", "mxc/one"),
}
"""The commands of which each must say what is wrong."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def product() -> Iterator[Product]:
    """Without a cluster; its store holds one object, which nobody works on."""
    with Product() as product:
        with closing(Database(product.home.database)) as database:
            database.objects.apply_all([_declared("one")])
        yield product
        clear(product)


def clear(product: Product) -> None:
    """Remove what nobody works on, or the next controller would start it."""
    with closing(Database(product.home.database)) as database:
        for stored in database.objects.list("MatrixCluster"):
            database.objects.delete(stored.key)


def _declared(name: str) -> dict[str, object]:
    manifest = cluster(name)
    return manifest | {"metadata": {"name": name, "namespace": "default"}}


def run_all(product: Product, *names: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """Some of the four commands at once, with a manifest of a new object."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(cluster("two")))
        file.flush()
        with ThreadPoolExecutor() as pool:
            running = {name: pool.submit(product.run, *(word.format(file=file.name) for word in FOUR[name])) for name in names}
            return {name: future.result() for name, future in running.items()}


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 5 and one line that has the words in it."""
    assert (done.returncode, done.stdout) == (5, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def names(path: Path) -> list[str]:
    """The clusters in a store."""
    with closing(Database(path)) as database:
        return [stored.key.name for stored in database.objects.list("MatrixCluster")]


@contextmanager
def owned_by(path: Path, owner: Owner, *, beats: bool = False) -> Iterator[None]:
    """The lock belongs to `owner`, whose heart beats or not."""
    ends = threading.Event()
    with closing(Database(path)) as database:
        lock = ControllerLock(database.connection, owner)
        lock.acquire()

        def beat() -> None:
            while not ends.wait(0.5):
                lock.heartbeat()

        thread = threading.Thread(target=beat)
        if beats:
            thread.start()
        try:
            yield
        finally:
            ends.set()
            if beats:
                thread.join()
                lock.release()


def test_a_file_that_another_process_holds(product: Product) -> None:
    database = product.home.database
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        for done in run_all(product, *FOUR).values():
            assert_refused(done, f"{database} is held by another process: try again, or see who holds it with `fuser {database}`")
    assert names(database) == ["one"]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"no database, but text\n" * 500, lambda data: data[:4096] + b"\xff" * (len(data) - 4096), lambda data: b""],
    ids=["text", "overwritten", "emptied"],
)
def test_a_damaged_file(product: Product, damage: object) -> None:
    database = product.home.database
    good = database.read_bytes()
    damaged = damage(good)  # type: ignore[operator]
    database.write_bytes(damaged)
    for done in run_all(product, *FOUR).values():
        assert_refused(done, f"{database} is damaged (", "move it away and apply your manifests again, or put a copy of it back")
    assert database.read_bytes() == damaged
    database.write_bytes(good)
    assert names(database) == ["one"]


def test_a_full_disk(product: Product) -> None:
    """Looking goes on, changing is refused, and works again when there is room."""
    with small_disk(product.home.root.with_suffix(".disk")) as disk:
        small = Product(Home(disk / "home"))
        assert small.run("get").returncode == 0
        filler = fill(disk)
        for done in run_all(small, "apply", "up").values():
            assert_refused(done, f"no room to write {small.home.database}: free some space on its disk (or quota)")
        filler.unlink()
        assert names(small.home.database) == []


def test_a_full_disk_without_a_state_directory(product: Product) -> None:
    with small_disk(product.home.root.with_suffix(".disk")) as disk:
        fill(disk)
        small = Product(Home(disk / "home"))
        for done in run_all(small, *FOUR).values():
            assert_refused(done, "no room to create", str(disk), "free some space on its disk (or quota)")


@contextmanager
def small_disk(point: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    point.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point], capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)
    finally:
        point.rmdir()


def test_a_controller_at_work_on_another_host(product: Product) -> None:
    """What is applied would be started there. Looking is possible from everywhere."""
    with owned_by(product.home.database, LOGIN2, beats=True):
        for done in run_all(product, "apply", "up").values():
            assert_refused(done, "in use by the controller on host login2 (process 321): use Matrix there", "matrix controller stop")
        looks = run_all(product, "get", "why")
        assert looks["get"].returncode == 0 and "one" in looks["get"].stdout
        assert looks["why"].returncode == 1 and "Traceback" not in looks["why"].stderr
        assert names(product.home.database) == ["one"]


def test_a_lock_whose_host_is_dead_is_taken_over(product: Product) -> None:
    clear(product)
    with owned_by(product.home.database, LOGIN2):
        done = product.run("controller", "run", "--detach")
        assert done.returncode == 0, done.stderr
        assert json.loads(product.matrix("controller", "status", "-o", "json"))["host"] != "login2"
    product.matrix("controller", "stop")


def test_a_lock_whose_pid_belongs_to_another_process_now(product: Product) -> None:
    """It is taken over at once, and that process is left alone."""
    clear(product)
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        with owned_by(product.home.database, replace(this_process(), pid=stranger.pid, start_ticks=1)):
            stopped = product.run("controller", "stop")
            assert (stopped.returncode, stopped.stdout.strip()) == (0, "it was not running")
            product.matrix("controller", "run", "--detach")
            assert product.controller_pid() != stranger.pid
        product.matrix("controller", "stop")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.fixture(scope="module")
def running() -> Iterator[Product]:
    """A cluster and a model of the test engine."""
    with Product() as product:
        product.apply(cluster(**FIELD), dummy("parrot", "field"))
        product.wait("mxd/parrot")
        yield product


def answers(product: Product, url: str, token: str) -> bool:
    """Whether the replica does, asked without Matrix."""
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return "parrot" in answer.read().decode()


IDLE = ("ray::IDLE", "default_worker.py")
"""Workers that Ray keeps ready: it ends and starts these as it likes."""


def parts(product: Product) -> set[tuple[int, float]]:
    """Every process of the clusters that has something to do, as identities."""
    found = set()
    for process in product.processes():
        with suppress(psutil.NoSuchProcess):
            if not any(idle in " ".join(process.cmdline()) for idle in IDLE):
                found.add((process.pid, process.create_time()))
    return found


def until_ended(controller: psutil.Process) -> None:
    """It has noticed that its store is gone. (Nobody waits for it here: it is a zombie then.)"""

    def ended() -> bool:
        try:
            return not controller.is_running() or controller.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    until(ended, 60, "the controller goes on")


def test_what_runs_is_not_harmed_when_the_store_is_damaged(running: Product) -> None:
    """Once the damaged file is moved away, as told, the controller ends; with a copy in its place the next one takes over what runs."""
    product, database = running, running.home.database
    url = product.get("mxd/parrot")["status"]["endpoints"][0]["url"]
    token = (product.home.cluster(product.get("mxc/field")["metadata"]["uid"]) / "secrets" / "client-token").read_text().strip()
    controller, before = psutil.Process(product.controller_pid()), parts(product)
    copy = product.home.root / "copy.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    for file in (database, database.with_name("matrix.db-wal")):
        file.write_bytes(b"\xff" * file.stat().st_size)
    for done in run_all(product, *FOUR).values():
        assert_refused(done, f"{database} is damaged (")
    assert parts(product) == before and answers(product, url, token)
    for name in ("matrix.db", "matrix.db-wal", "matrix.db-shm"):
        (product.home.root / name).unlink(missing_ok=True)
    until_ended(controller)
    copy.replace(database)
    product.apply(cluster(**FIELD), dummy("parrot", "field", drainSeconds=2))  # a change: only a controller at work takes it
    product.wait("mxd/parrot")
    assert parts(product) >= before
    assert product.matrix("chat", "parrot", "hello").strip()


def test_a_ray_whose_state_directory_was_lost_is_named_and_ended_on_request(running: Product) -> None:
    """The last test: it ends what the others shared."""
    product, uid = running, running.get("mxc/field")["metadata"]["uid"]
    controller = psutil.Process(product.controller_pid())
    lost = product.home.root.rename(product.home.root.with_suffix(".lost"))
    until_ended(controller)
    shutil.rmtree(lost)
    assert product.processes(uid)
    remedy = f"`matrix controller end-orphan {uid}`"
    why = product.run("why", "mxc/field")
    assert why.returncode == 3 and remedy in why.stdout and str(product.home.root) in why.stdout
    up = product.up(cluster("vast", head={"resources": {"cpu": 1000}}))
    (warning,) = [line for line in up.stderr.splitlines() if line.startswith("warning: ") and uid in line]  # others may have left theirs
    assert remedy in warning
    product.matrix("down", "mxc/vast")
    assert "nothing of" in product.matrix("controller", "end-orphan", uid)
    assert not product.processes(uid)
    assert uid not in product.run("why", "mxc/field").stdout
