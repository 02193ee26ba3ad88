"""What a node needs of the machine: root, and programs that Debian and Ubuntu have as packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.lab.errors import NodeMissing

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CNI = Path("/usr/lib/cni")
"""Where Debian's package puts the network plugins."""
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "containerd": ("containerd",),
    "runc": ("runc",),
    "nftables": ("nft",),
    "iproute2": ("ip",),
    "util-linux": ("unshare", "nsenter"),
    "mount": ("mount",),
}
_PLUGINS = ("ptp", "host-local", "loopback")


def require(path: str = PATH, plugins: Path = CNI, user: int | None = None) -> None:
    """Returns when this machine can have a node; `user` is the caller's uid (default: whoever this is).

    Raises NodeMissing, which names what to install.
    """
    missing = [package for package, programs in _PACKAGES.items() if not all(shutil.which(name, path=path) for name in programs)]
    if not all((plugins / name).exists() for name in _PLUGINS):
        missing.append("containernetworking-plugins")
    if missing:
        raise NodeMissing(f"a node needs more programs: apt-get install {' '.join(sorted(missing))}")
    if (os.geteuid() if user is None else user) != 0:
        raise NodeMissing("a node needs root: it makes namespaces, mounts and a network link")


def program(name: str) -> str:
    """The path of one of those programs."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise NodeMissing(f"there is no {name} in {PATH}")
    return found
