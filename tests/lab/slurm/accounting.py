"""slurmdbd with a database of its own, on the controller's machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.node.needs import program
from tests.lab.slurm import settings
from tests.lab.slurm.daemon import Daemon
from tests.lab.slurm.place import Place
from tests.lab.slurm.users import UnixUser

ACCOUNT = "team-a"
"""Of the first user; the others have none."""
_SECONDS = 120.0
_DATABASE = f"""create database slurm_accounting;
create user slurm@localhost identified by '{settings.DATABASE_PASSWORD}';
grant all on slurm_accounting.* to slurm@localhost"""


class Accounting:
    """Its daemons, started in order."""

    def __init__(self, directory: Path, place: Place) -> None:
        self._data = directory / "database"
        self._place = place
        socket = f"{self._data}/socket"
        self._client = [program("mariadb"), "--no-defaults", "-S", socket]
        limits = ("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900")
        where = (f"--datadir={self._data}/data", f"--socket={socket}", "--skip-networking", f"--pid-file={self._data}/pid")
        mariadbd = [program("mariadbd"), "--no-defaults", "--user=root", *where, *limits]
        self.database = Daemon("mariadbd", place, mariadbd, directory / "log")
        slurmdbd = [program("env"), f"MYSQL_UNIX_PORT={socket}", program("slurmdbd"), "-D"]
        self.daemon = Daemon("slurmdbd", place, slurmdbd, directory / "log")
        (directory / "slurmdbd.conf").write_text(settings.slurmdbd(directory))
        (directory / "slurmdbd.conf").chmod(0o600)

    def start(self) -> None:
        """Returns when slurmdbd answers. Raises LabError."""
        self._data.mkdir()
        install = [
            "--no-defaults",
            "--user=root",
            f"--datadir={self._data}/data",
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ]
        self._must("the database is made", program("mariadb-install-db"), *install)
        self.database.start()
        wait_for(lambda: self._ask("select 1"), "the database answers", _SECONDS)
        self._must("slurmdbd has a database", *self._client, "-e", _DATABASE)
        self.daemon.start()
        wait_for(lambda: self._manage("add", "cluster", settings.CLUSTER), "slurmdbd answers", _SECONDS)

    def admit(self, users: Iterable[UnixUser]) -> None:
        """Gives the first of them an account."""
        first = next(iter(users))
        for words in (("account", ACCOUNT, f"cluster={settings.CLUSTER}"), ("user", first.name, f"account={ACCOUNT}")):
            if not self._manage("add", *words):
                raise LabError(f"sacctmgr could not add {' '.join(words)}")

    def stop(self) -> None:
        for daemon in (self.daemon, self.database):
            daemon.kill()

    def _ask(self, query: str) -> bool:
        self.database.require_running()
        return self._place.run(*self._client, "-e", query).returncode == 0

    def _manage(self, *words: str) -> bool:
        self.daemon.require_running()
        done: subprocess.CompletedProcess[str] = self._place.run(program("sacctmgr"), "-n", "-i", *words)
        return done.returncode == 0 or "already exists" in done.stdout

    def _must(self, what: str, *command: str) -> None:
        done = self._place.run(*command, seconds=_SECONDS)
        if done.returncode:
            raise LabError(f"{what}: {done.stderr.strip() or done.stdout.strip()}")
