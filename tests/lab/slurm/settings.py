"""The configuration files of a Slurm of the lab, as texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLUSTER = "lab"
CPUS = 8
MEMORY_MB = 6000
"""Of each node. Not what the machine has: nothing is measured against it but what jobs ask for."""
GPU_TYPE = "lab"
GPUS = 2
"""Of each node. What stands for them are devices that everybody may open: a GPU has to be a file."""
_DEVICES = ("/dev/null", "/dev/zero")
DATABASE_PASSWORD = "of-the-lab"
"""The database listens at a socket in the lab's own directory."""
_NO_CGROUPS = "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none"
_CGROUPS = "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup"
_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"


@dataclass(frozen=True)
class Machine:
    """A name and its address in the lab's network."""

    name: str
    address: str


def slurm(
    directory: Path, controller: Machine, nodes: Sequence[Machine], *, cgroups: bool, accounting: bool, extra: Mapping[str, str]
) -> str:
    """slurm.conf. `extra` replaces or adds keys."""
    values = _values(directory, controller) | dict(extra)
    lines = [f"{key}={value}" for key, value in values.items()]
    lines += [_CGROUPS if cgroups else _NO_CGROUPS, _accounting(directory, controller) if accounting else _NO_ACCOUNTING]
    lines += [f"NodeName=DEFAULT CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPU_TYPE}:{GPUS} State=UNKNOWN"]
    lines += [f"NodeName={node.name} NodeHostname={node.name} NodeAddr={node.address}" for node in nodes]
    return "\n".join([*lines, *_partitions()]) + "\n"


def cgroup() -> str:
    """cgroup.conf: version 1, memory and the freezer. Cores are not bound: the nodes have more of them than the machine."""
    return "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainCores=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"


def gres() -> str:
    """gres.conf."""
    return "".join(f"Name=gpu Type={GPU_TYPE} File={device}\n" for device in _DEVICES[:GPUS])


def slurmdbd(directory: Path) -> str:
    """slurmdbd.conf."""
    return f"""AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
SlurmUser=root
LogFile={directory}/log/slurmdbd.log
PidFile={directory}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass={DATABASE_PASSWORD}
StorageLoc=slurm_accounting
CommitDelay=0
"""


def _values(directory: Path, controller: Machine) -> dict[str, str]:
    """Quick to start jobs, to requeue them (cred_expire: two minutes else) and to call a node down."""
    return {
        "ClusterName": CLUSTER,
        "SlurmctldHost": f"{controller.name}({controller.address})",
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={directory}/munge/socket,cred_expire=5",
        "CredType": "cred/munge",
        "StateSaveLocation": f"{directory}/state",
        "SlurmctldPidFile": f"{directory}/run/slurmctld.pid",
        "SlurmctldLogFile": f"{directory}/log/slurmctld.log",
        "SlurmdSpoolDir": f"{directory}/spool/%n",
        "SlurmdPidFile": f"{directory}/run/slurmd-%n.pid",
        "SlurmdLogFile": f"{directory}/log/slurmd-%n.log",
        "SlurmdParameters": "config_overrides",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobCompType": "jobcomp/none",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=5,bf_interval=2",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "GresTypes": "gpu",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "ReturnToService": "1",
        "SlurmctldTimeout": "30",
        "SlurmdTimeout": "15",
        "KillWait": "3",
        "MessageTimeout": "10",
        "MinJobAge": "300",
    }


def _accounting(directory: Path, controller: Machine) -> str:
    """The clients of slurmdbd do not read AuthInfo: they are told of the socket again."""
    return (
        f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost={controller.address}\n"
        f"AccountingStoragePass={directory}/munge/socket\nAccountingStoreFlags=job_comment\n"
        "AccountingStorageEnforce=associations,limits,qos"
    )


def _partitions() -> list[str]:
    """`main` gives way to `high`; in `short` no job may run for more than a minute; `closed` is down."""
    common = "Nodes=ALL DefMemPerCPU=100"
    return [
        f"PartitionName=main {common} Default=YES PriorityTier=1",
        f"PartitionName=high {common} PriorityTier=10",
        f"PartitionName=short {common} PriorityTier=1 MaxTime=1",
        f"PartitionName=closed {common} PriorityTier=1 State=DOWN",
    ]
