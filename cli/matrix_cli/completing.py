"""What a shell offers when a word of a command is being typed. Light, silent when something is wrong, and it creates nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress

import click
from click.shell_completion import CompletionItem

from matrix_cli.settings import Settings
from matrix_crds import registry
from matrix_crds.errors import UnknownKind
from matrix_store.errors import StoreError
from matrix_store.port import StoredObject

BUSY_SECONDS = 0.2
"""Who has pressed Tab does not wait for a store that is in use."""


def objects(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """KIND/NAME of what there is; names alone where the kind was given as a word of its own."""
    given = _given(ctx, parameter)
    if given and "/" not in given[0]:
        return _names(ctx, given[0], incomplete)
    kind, slash, _ = incomplete.partition("/")
    if slash:
        return [f"{kind}/{name}" for name in _names(ctx, kind, incomplete.removeprefix(f"{kind}/"))]
    found = (f"{info.short}/{stored.key.name}" for info in registry.KINDS for stored in _stored(ctx, info.kind))
    return _fitting(found, incomplete)


def objects_and_kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For `matrix get`."""
    words = () if _given(ctx, parameter) else [name for info in registry.KINDS for name in (info.short, info.kind)]
    return [*_fitting(words, incomplete), *objects(ctx, parameter, incomplete)]


def objects_and_controller(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For `matrix logs`."""
    return [*_fitting(["controller"], incomplete), *objects(ctx, parameter, incomplete)]


def objects_and_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """For `matrix down`: objects while one fits, else files."""
    found = objects(ctx, parameter, incomplete)
    return [CompletionItem(word) for word in found] or [CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names that requests use."""
    from matrix_client.endpoints import served_name

    return _fitting(map(served_name, _stored(ctx, "ModelDeployment")), incomplete)


def models_and_clusters(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For `matrix env`."""
    named = (f"mxc/{stored.key.name}" for stored in _stored(ctx, "MatrixCluster"))
    return [*models(ctx, parameter, incomplete), *_fitting(named, incomplete)]


def clusters(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Clusters by name."""
    return _names(ctx, "MatrixCluster", incomplete)


def namespaces(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Those in which something is."""
    found = {stored.key.namespace for info in registry.KINDS for stored in _stored(ctx, info.kind, everywhere=True)}
    return _fitting(sorted(found), incomplete)


def fields(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """KIND.field.path, one level at a time."""
    kind, dot, path = incomplete.partition(".")
    if not dot:
        return _fitting((info.short for info in registry.KINDS), incomplete)
    from matrix_crds.tree import as_model, step, wire_fields

    with suppress(UnknownKind):
        annotation: object = registry.lookup(kind).model
        *names, last = path.split(".")
        for name in names:
            annotation = step(annotation, name)
            annotation = annotation if as_model(annotation) else step(annotation, 0)
        model = as_model(annotation)
        lead = ".".join([kind, *names])
        return [f"{lead}.{name}" for name in _fitting(wire_fields(model) if model else (), last)]
    return []


def _given(ctx: click.Context, parameter: click.Parameter) -> Sequence[str]:
    """The words of the same argument before this one."""
    words = ctx.params.get(parameter.name or "") or ()
    return (words,) if isinstance(words, str) else words


def _names(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    with suppress(UnknownKind):
        return _fitting((stored.key.name for stored in _stored(ctx, registry.lookup(kind).kind)), incomplete)
    return []


def _fitting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _stored(ctx: click.Context, kind: str, *, everywhere: bool = False) -> Sequence[StoredObject]:
    from matrix_client.context import LOCAL, resolve_home
    from matrix_store.database import Database

    settings = ctx.ensure_object(Settings)
    if settings.context != LOCAL:  # a network is too slow for the Tab key
        return ()
    path = resolve_home(settings.home).database
    with suppress(StoreError, OSError):
        if path.exists():
            with closing(Database(path, busy_seconds=BUSY_SECONDS)) as database:
                return database.objects.list(kind, None if everywhere else settings.namespace)
    return ()
