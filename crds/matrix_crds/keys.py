"""The identity of an object. No pydantic here: light commands never import it."""

from __future__ import annotations

from typing import NamedTuple

from matrix_crds.constants import DEFAULT_NAMESPACE


class ObjectKey(NamedTuple):
    """Which object: kind, namespace and name. Hashable, so it keys queues and caches."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.namespace == DEFAULT_NAMESPACE else f"{self.kind}/{self.namespace}/{self.name}"
