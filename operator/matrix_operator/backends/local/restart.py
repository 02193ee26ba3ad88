"""Starting one part again with the command line it had."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from matrix_operator.backends.local.journal import PartRecord

QUICK = timedelta(seconds=30)
"""A part that ends within this time of its start is not healthy: it waits longer each time."""
GIVE_REASON_AFTER = 3
"""So many quick ends in a row are reported as a failure (and tried again all the same)."""

_NODE_ID_BYTES = 28  # ray.NodeID.size()
_NODE_ID = re.compile(r"^--node_id=([0-9a-f]+)$")
_SOCKET = re.compile(r"^--(?:raylet|store)_socket_name=(.+)$")


def backoff(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: none after the first, then 2, 4, ... 60 s."""
    return timedelta(seconds=min(2 ** (failures - 1), 60) if failures > 1 else 0)


def is_due(since: datetime, wait: timedelta, now: datetime) -> bool:
    """Whether the wait is over. A clock that was set back does not make it longer."""
    return now < since or now >= since + wait


def noticed_dead(record: PartRecord, now: datetime) -> PartRecord:
    """The record once its process was found gone."""
    quick = record.quick_deaths + 1 if now - record.started_at < QUICK else 0
    return record.model_copy(update={"died_at": now, "quick_deaths": quick})


def with_fresh_node_id(argv: Sequence[str], node_id: str | None = None) -> tuple[str, ...]:
    """A raylet's argv for another life: the GCS does not take a dead node's id again. It occurs in the commands of its agents too."""
    old = next((match[1] for argument in argv if (match := _NODE_ID.match(argument))), None)
    if old is None:
        return tuple(argv)
    fresh = node_id or secrets.token_hex(_NODE_ID_BYTES)
    return tuple(argument.replace(old, fresh) for argument in argv)


def sockets(argv: Sequence[str]) -> list[Path]:
    """The unix sockets that a raylet makes, to be removed before it is started again."""
    return [Path(match[1]) for argument in argv if (match := _SOCKET.match(argument))]
