"""The people of a lab: they exist on its machines alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UnixUser:
    """An ordinary user, whose home is on the lab's shared file system."""

    name: str
    uid: int
    home: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a login sets."""
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "SHELL": "/bin/bash"}


_FIRST_UID = 42_001


def make(names: Iterable[str], homes: Path, etc: Path) -> Mapping[str, UnixUser]:
    """Their homes, and passwd and group in `etc`: this machine's own, and them."""
    users = {name: UnixUser(name, _FIRST_UID + number, homes / name) for number, name in enumerate(names)}
    for user in users.values():
        user.home.mkdir(mode=0o700, parents=True)
        os.chown(user.home, user.uid, user.uid)
    accounts = [f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/bin/bash\n" for user in users.values()]
    groups = [f"{user.name}:x:{user.uid}:\n" for user in users.values()]
    for name, lines in (("passwd", accounts), ("group", groups)):
        (etc / name).write_text(Path("/etc", name).read_text() + "".join(lines))
    return users
