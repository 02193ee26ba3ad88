"""The type of the file system under a path, out of literal tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_store.filesystem import LOCAL_TYPES, file_system_type, is_local

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime - nfs4 server:/export/home rw,vers=4.2,addr=10.0.0.1
31 30 0:41 / /home/user/scratch rw - lustre mds@tcp:/scratch rw
32 22 0:42 / /mnt/with\040space rw,relatime shared:2 master:3 - fuse.sshfs user@host:/ rw
33 22 0:43 / /data rw - xfs /dev/vdb rw
34 22 0:44 / /data rw - tmpfs tmpfs rw
nonsense
""".strip()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/var/lib/matrix", "ext4"),
        ("/home", "nfs4"),
        ("/home/user/.local/state/matrix", "nfs4"),
        ("/homes/user", "ext4"),
        ("/home/user/scratch/matrix", "lustre"),
        ("/mnt/with space/matrix", "fuse.sshfs"),
        ("/data/matrix", "tmpfs"),  # the later mount covers the earlier one
    ],
)
def test_the_deepest_and_latest_mount_counts(path: str, expected: str) -> None:
    assert file_system_type(Path(path), MOUNTS) == expected


def test_no_mounts_are_no_type() -> None:
    assert file_system_type(Path("/home"), "") == ""


@pytest.mark.parametrize(
    "network", ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "9p", "fuse.sshfs", "fuse", "afs", ""]
)
def test_network_and_unknown_types_are_not_local(network: str) -> None:
    assert network not in LOCAL_TYPES


def test_a_directory_of_this_machine_is_found(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert is_local(tmp_path) == (file_system_type(tmp_path.resolve(), mounts) in LOCAL_TYPES)
    assert not is_local(Path("/proc/self"))
