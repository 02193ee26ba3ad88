"""Which GPUs a node gets. Raylets of one machine don't know of each other and would all count from 0, so each sees its own only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matrix_operator.backends.local.journal import Journal, NodeTemplate, PartRecord


def free_gpus(visible: Iterable[str], journals: Iterable[Journal]) -> list[str]:
    """Those that no node of these clusters holds. Raises JournalUnreadable."""
    held = {gpu for journal in journals for record in journal.parts().values() for gpu in gpus_of(record)}
    return [gpu for gpu in visible if gpu not in held]


def gpus_of(record: PartRecord) -> list[str]:
    return [gpu for gpu in record.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]


def assign_gpus(nodes: Mapping[str, NodeTemplate], free: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """A share of the free ones for each node, in order; there must be enough."""
    rest = iter(free)
    return {name: tuple(next(rest) for _ in range(node.gpus)) for name, node in nodes.items()}
