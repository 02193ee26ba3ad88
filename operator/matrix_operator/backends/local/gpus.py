"""Which GPUs a node gets. Raylets of one machine don't know of each other and would all count from 0, so each sees its own only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matrix_operator.backends.local.journal import Journal, NodeTemplate, PartRecord


def free_gpus(visible: Iterable[str], others: Iterable[Journal], own: Iterable[PartRecord] = ()) -> list[str]:
    """Those that neither another cluster nor a part of this one holds. Raises JournalUnreadable."""
    held = {gpu for record in own for gpu in _gpus_of(record)}.union(*(_held_by(journal) for journal in others))
    return [gpu for gpu in visible if gpu not in held]


def _held_by(journal: Journal) -> set[str]:
    """By what it has started, and by what its launcher is about to start."""
    held = {gpu for record in journal.parts().values() for gpu in _gpus_of(record)}
    plan, launch = journal.plan(), journal.launch()
    if plan and not (launch and launch.written_at == plan.written_at and launch.finished):
        held |= {gpu for node in plan.nodes for gpu in node.gpu_ids}
    return held


def _gpus_of(record: PartRecord) -> list[str]:
    return [gpu for gpu in record.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]


def assign_gpus(nodes: Mapping[str, NodeTemplate], free: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """A share of the free ones for each node, in order; there must be enough."""
    rest = iter(free)
    return {name: tuple(next(rest) for _ in range(node.gpus)) for name, node in nodes.items()}
