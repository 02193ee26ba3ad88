"""On what kind of file system a path lies: SQLite's WAL needs shared memory, which only a local one has (sqlite.org/wal.html)."""

from __future__ import annotations

import re
from pathlib import Path

LOCAL_TYPES = frozenset(("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs"))
"""Those known to be local. Any other counts as a network file system: the rollback journal is right everywhere, only slower."""


def is_local(path: Path) -> bool:
    """Whether the path's file system is known to be local. False when it can't be found out."""
    try:
        return file_system_type(path.resolve(), Path("/proc/self/mountinfo").read_text()) in LOCAL_TYPES
    except OSError:
        return False


def file_system_type(path: Path, mountinfo: str) -> str:
    """The type of the mount that holds an absolute path, out of the text of /proc/self/mountinfo (proc(5)); "" if there is none."""
    found, found_type = -1, ""
    for line in mountinfo.splitlines():
        mount, separator, source = line.partition(" - ")
        if not separator:
            continue
        point = Path(_unescape(mount.split()[4]))
        # A later mount on the same point covers the earlier one, so equal depth wins too.
        if path.is_relative_to(point) and len(point.parts) >= found:
            found, found_type = len(point.parts), source.split()[0]
    return found_type


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash are written in octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
