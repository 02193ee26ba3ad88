"""Did you mean: an error that names what there is."""

from __future__ import annotations

from difflib import get_close_matches

from matrix_cli.references import Selection
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound, StoreError
from matrix_store.port import Store


async def not_found(store: Store, selection: Selection) -> NotFound:
    """The error for a name that does not exist, with what else there is in its namespace, as far as that may be seen."""
    key = ObjectKey(selection.kind, selection.namespace, selection.name or "")
    try:
        keys = [stored.key for kind in registry.KINDS for stored in await store.list(kind.kind, key.namespace)]
    except StoreError:
        return NotFound(f"{key} does not exist")
    return NotFound(f"{key} does not exist; {hint(key, keys)}")


def hint(key: ObjectKey, keys: list[ObjectKey]) -> str:
    """What the user may have meant: the same name in another kind or namespace, a name like it, or what there is."""
    others = [other for other in keys if other.name == key.name and other != key]
    names = [other.name for other in keys if other.kind == key.kind and other.namespace == key.namespace]
    close = get_close_matches(key.name, names, n=1, cutoff=0.5)
    if others or close:
        return f"did you mean {others[0] if others else ObjectKey(key.kind, key.namespace, close[0])}?"
    return f"there is {', '.join(names)}" if names else "create it with `matrix up FILE`"
