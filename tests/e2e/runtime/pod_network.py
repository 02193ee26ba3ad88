"""A network of the tests' own: a bridge on this machine, and network namespaces on it, each with an IPv4 and an IPv6 address, as pods have.
Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass

import pytest


def needs_network_namespaces() -> None:
    """Skips where they can't be made."""
    missing = [name for name in ("ip", "nsenter", "unshare", "setpriv", "ss") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount", "true"], capture_output=True, text=True, timeout=30)
    if made.returncode:
        pytest.skip(f"no namespaces can be made here: {made.stderr.strip()}")


@dataclass(frozen=True)
class Place:
    """A network namespace with an interface on the bridge."""

    name: str
    address: str
    address6: str


class PodNetwork:
    """Addresses 10.213.N.1 and on; the bridge, and with it this machine, is 10.213.N.254."""

    def __init__(self) -> None:
        self._places: list[str] = []
        self._bridge, self._number = _new_bridge()
        self.address = f"10.213.{self._number}.254"
        ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        ip("addr", "add", f"{self._v6(254)}/64", "dev", self._bridge, "nodad")
        ip("link", "set", self._bridge, "up")

    def add(self) -> Place:
        """One more namespace."""
        number = len(self._places) + 1
        name, outer = f"{self._bridge}p{number}", f"{self._bridge}v{number}"
        ip("netns", "add", name)
        self._places.append(name)
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outer, "master", self._bridge, "up")
        place = Place(name, f"10.213.{self._number}.{number}", self._v6(number))
        inside = ("-n", name)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "addr", "add", f"{place.address}/24", "dev", "eth0")
        ip(*inside, "addr", "add", f"{place.address6}/64", "dev", "eth0", "nodad")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "route", "add", "default", "via", self.address)  # Ray looks for the address that leads out
        return place

    def remove(self) -> None:
        """Nothing is left."""
        links = [f"{self._bridge}v{number + 1}" for number in range(len(self._places))]  # else they live on until the kernel has the time
        ends = [*(("link", "del", link) for link in links), *(("netns", "del", name) for name in self._places)]
        for words in (*ends, ("link", "del", self._bridge)):  # last: from then on another network may have its name, and theirs
            with contextlib.suppress(subprocess.CalledProcessError):
                ip(*words)

    def _v6(self, number: int) -> str:
        return f"fd6d:7878:{self._number:x}::{number:x}"


def _new_bridge() -> tuple[str, int]:
    for number in range(1, 255):
        name = f"mxb{number}"
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "add", name, "type", "bridge")
            return name, number
    raise RuntimeError("no name is free for a bridge")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout
