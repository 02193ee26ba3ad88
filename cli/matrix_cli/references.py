"""Objects as they are named on the command line: KIND/NAME, KIND NAME..., KIND/NAMESPACE/NAME."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from matrix_client.errors import UsageError
from matrix_crds import registry
from matrix_crds.constants import DEFAULT_NAMESPACE
from matrix_crds.keys import ObjectKey

ALL_KINDS = frozenset({"all", "matrix"})
"""Names of the category that holds every kind."""
_IN_DEFAULT = re.compile(rf"(?<!')\b({'|'.join(kind.kind for kind in registry.KINDS)})/([a-z0-9](?:[-.]*[a-z0-9])*+)(?![/-])")
"""An object as ObjectKey writes it where it leaves the namespace out; not a word that was typed and is quoted."""


class Selection(NamedTuple):
    """All objects of a kind, or one of them."""

    kind: str
    namespace: str
    name: str | None = None

    @property
    def key(self) -> ObjectKey | None:
        return ObjectKey(self.kind, self.namespace, self.name) if self.name else None


def read_selections(words: Sequence[str], namespace: str) -> list[Selection]:
    """What `matrix get` was asked for: nothing means everything. Raises UsageError, UnknownKind."""
    if not words or (len(words) == 1 and words[0].lower() in ALL_KINDS):
        return [Selection(kind.kind, namespace) for kind in registry.KINDS]
    if "/" not in words[0] and len(words) == 1:
        return [Selection(registry.lookup(kind).kind, namespace) for kind in words[0].split(",")]
    return [Selection(*key) for key in read_keys(words, namespace)]


def read_keys(words: Sequence[str], namespace: str) -> list[ObjectKey]:
    """Objects by name, each once. Raises UsageError, UnknownKind."""
    if not words:
        return []
    if "/" in words[0]:
        return list(dict.fromkeys(read_key(word, namespace) for word in words))
    kind = registry.lookup(words[0]).kind
    if len(words) == 1:
        raise UsageError(f"which {kind}? write {words[0]}/NAME; `matrix get {words[0]}` lists them")
    return list(dict.fromkeys(ObjectKey(kind, namespace, name) for name in words[1:]))


def read_key(word: str, namespace: str) -> ObjectKey:
    """One KIND/NAME or KIND/NAMESPACE/NAME. Raises UsageError, UnknownKind."""
    kind, *names = word.split("/")
    if not names or not all(names) or len(names) > 2:
        raise UsageError(f"{word!r} names no object; write KIND/NAME, such as mxd/smollm2")
    return ObjectKey(registry.lookup(kind).kind, *([namespace, *names][-2:]))


def with_namespaces(text: str) -> str:
    """A text in which objects are named as ObjectKey writes them, with the namespace of those that it leaves out: whoever types such a
    name may mean another one."""
    return _IN_DEFAULT.sub(rf"\1/{DEFAULT_NAMESPACE}/\2", text)
