"""What a Slurm of the lab needs of the machine: root, namespaces, and Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from tests.lab.errors import LabError
from tests.lab.node.needs import PATH

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd",),
    "slurm-client": ("sbatch", "squeue", "scancel", "sinfo", "scontrol", "sacct", "sacctmgr"),
    "munge": ("munged",),
    "iproute2": ("ip",),
    "util-linux": ("nsenter", "unshare", "setpriv"),
}
_ACCOUNTING: Mapping[str, tuple[str, ...]] = {"slurmdbd": ("slurmdbd",), "mariadb-server": ("mariadbd", "mariadb-install-db")}
_PLUGINS: Mapping[str, str] = {"slurm-wlm-basic-plugins": "sched_backfill.so"}
_ACCOUNTING_PLUGINS: Mapping[str, str] = {"slurm-wlm-mysql-plugin": "accounting_storage_mysql.so"}
_APT_SECONDS = 600.0
_LOCK = Path("/run/lock/matrix-lab-apt.lock")


class SlurmMissing(LabError):
    """This machine can't have a Slurm, for want of rights or packages: the one reason to skip what needs it."""


def ensure(accounting: bool = False, tell: Callable[[str], object] = lambda _: None) -> None:
    """Installs what is missing, where the machine has apt. Raises SlurmMissing."""
    if os.geteuid() != 0:
        raise SlurmMissing("a Slurm of the lab needs root: it makes namespaces, and its daemons start jobs as other users")
    with FileLock(_LOCK):
        if missing := _missing(accounting):
            tell(f"installs {' '.join(missing)}")
            _install(missing)
        if missing := _missing(accounting):
            raise SlurmMissing(f"a Slurm of the lab needs {' '.join(missing)}")
    made = subprocess.run(["unshare", "--net", "--pid", "--uts", "--mount", "--fork", "true"], capture_output=True, text=True, timeout=30)
    if made.returncode:
        raise SlurmMissing(f"no namespaces can be made here: {made.stderr.strip()}")


def _missing(accounting: bool) -> list[str]:
    programs = {**_PACKAGES, **(_ACCOUNTING if accounting else {})}
    plugins = {**_PLUGINS, **(_ACCOUNTING_PLUGINS if accounting else {})}
    missing = [package for package, names in programs.items() if not all(shutil.which(name, path=PATH) for name in names)]
    return missing + [package for package, name in plugins.items() if not any(Path("/usr/lib").glob(f"*/slurm-wlm/{name}"))]


def _install(packages: list[str]) -> None:
    """In runlevel 1: no daemon of a package is started. Under systemd, which has none, munged and the database are."""
    apt = shutil.which("apt-get", path=PATH)
    if apt is None:
        raise SlurmMissing(f"a Slurm of the lab needs {' '.join(packages)}, and there is no apt-get to install them")
    environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    words = [apt, "-o", "DPkg::Lock::Timeout=300", "-qq"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run([*words, *command], env=environment, capture_output=True, text=True, timeout=_APT_SECONDS)
    if done.returncode:
        raise SlurmMissing(f"apt-get could not install {' '.join(packages)}: {done.stderr.strip()[-500:]}")
