"""The options that every command has, before or after its name, and what they open."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from matrix_cli.program import current, spelled
from matrix_cli.references import with_namespaces
from matrix_client.context import KUBERNETES, LOCAL, Context, LocalContext, open_context
from matrix_client.errors import UsageError
from matrix_crds.constants import DEFAULT_NAMESPACE
from matrix_crds.keys import ObjectKey

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext

T = TypeVar("T")
_OF_KUBECONFIG = f"{KUBERNETES}/"
SUMMARY = 200
"""Characters of a summary that are shown: all."""


@dataclass
class Settings:
    """The common options as given."""

    given_namespace: str | None = None
    context: str = field(default_factory=lambda: default_context())
    home: str | None = None
    kubeconfig: str | None = None
    debug: bool = False

    @cached_property
    def namespace(self) -> str:
        """The one that was given, else the context's own."""
        return self.given_namespace or open_context(self.context, self.home).default_namespace

    @property
    def spelling(self) -> str:
        """How a command that is to mean the same place begins."""
        return f"{current().name} {self._place}".rstrip()

    def spelled(self, text: str) -> str:
        """A text in which commands and objects are named, so that whoever copies one of them means this very place. All that is printed
        goes through here when it may name a command."""
        told = spelled(text, self._place)
        return told if self._default_is_meant else with_namespaces(told)

    def named(self, key: ObjectKey) -> str:
        """An object, so that whoever copies it means this one."""
        return str(key) if self._default_is_meant else "/".join(key)

    @property
    def _place(self) -> str:
        """The options as they were given, but for what is meant without them."""
        context = None if self.context == default_context() else self.context
        if context and current().plugin:
            context = context.removeprefix(_OF_KUBECONFIG)
        given = {"--context": context, "--kubeconfig": self.kubeconfig, "--home": self.home, "-n": self.given_namespace}
        return " ".join(f"{option} {shlex.quote(value)}" for option, value in given.items() if value)

    @property
    def _default_is_meant(self) -> bool:
        """Whether an object that names no namespace is surely one of `default`: a kubeconfig may say another."""
        return self.context == LOCAL and self.given_namespace in (None, DEFAULT_NAMESPACE)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Context]:
        """The context of the options, closed after the block."""
        context = open_context(self.context, self.home)
        try:
            yield context
        finally:
            await context.close()

    def run(self, work: Callable[[Context], Coroutine[Any, Any, T]]) -> T:
        """Run a command's work on an open context."""

        async def session() -> T:
            async with self.open() as context:
                return await work(context)

        import asyncio  # takes a while, and `--help` gets by without

        return asyncio.run(session())


def _store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option that was given; one that was not leaves what stood before the command's name."""
    settings = ctx.ensure_object(Settings)
    if value is not None and value is not False:
        setattr(settings, str(parameter.name), value)


def default_context() -> str:
    """Where the objects live when nothing is said. A plugin of kubectl speaks to the cluster that kubectl speaks to, whatever
    MATRIX_CONTEXT is."""
    program = current()
    return program.context if program.plugin else os.environ.get("MATRIX_CONTEXT") or program.context


def _store_context(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """kubectl's users name a context of the kubeconfig."""
    _store(ctx, parameter, value and _OF_KUBECONFIG + value)


def _use_kubeconfig(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """For all that reads one from here on."""
    _store(ctx, parameter, value)
    if value is not None:
        os.environ["KUBECONFIG"] = value


def local(context: Context, what: str) -> LocalContext:
    """For what is there on this machine only. `what` begins a sentence. Raises UsageError."""
    if not isinstance(context, LocalContext):
        raise UsageError(f"{what} is there only in the context {LOCAL}")
    return context


def remote(context: Context, what: str) -> KubernetesContext:
    """For what there is in a cluster only. `what` begins a sentence. Raises UsageError."""
    from matrix_client.kubernetes_context import KubernetesContext

    if not isinstance(context, KubernetesContext):
        raise UsageError(f"{what} is there only in the context {KUBERNETES}: what runs on this machine is reached as it is")
    return context


def common_options() -> list[click.Parameter]:
    """Fresh copies of the common options."""
    place: dict[str, Any] = {"expose_value": False, "callback": _store}
    return [
        click.Option(
            ["-n", "--namespace", "given_namespace"],
            metavar="NAME",
            shell_complete=_namespaces,
            help="The namespace (default: the context's own).",
            **place,
        ),
        *(_kubectls_options() if current().plugin else _own_options(place)),
        click.Option(["--debug"], is_flag=True, help="Show the trace of an error.", **place),
    ]


def _own_options(place: dict[str, Any]) -> list[click.Parameter]:
    where = "Where the objects live: local, kubernetes[/NAME] (default: $MATRIX_CONTEXT)."
    directory = click.Path(file_okay=False)
    return [
        click.Option(["--context"], metavar="NAME", help=where, **place),
        click.Option(["--home"], metavar="DIR", type=directory, help="The state directory (default: $MATRIX_HOME).", **place),
    ]


def _kubectls_options() -> list[click.Parameter]:
    """With the meaning that they have for kubectl."""
    which = "A context of the kubeconfig (default: its current one)."
    file = click.Path(exists=True, dir_okay=False)
    return [
        click.Option(["--context"], metavar="NAME", help=which, expose_value=False, callback=_store_context),
        click.Option(
            ["--kubeconfig"], metavar="FILE", type=file, help="Default: $KUBECONFIG.", expose_value=False, callback=_use_kubeconfig
        ),
    ]


def _namespaces(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from matrix_cli.completing import namespaces  # which needs this module

    return namespaces(ctx, parameter, incomplete)


class Command(click.Command):
    """A command with the common options, which its help lists apart from its own."""

    def get_help(self, ctx: click.Context) -> str:
        return spelled(super().get_help(ctx))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._common = common_options()
        self.params = [*self.params, *self._common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p for p in self.get_params(ctx) if p not in self._common]
        write_options(ctx, formatter, "Options", own)
        write_options(ctx, formatter, "Common options", self._common)


class Group(click.Group):
    """A command with commands below it: its help names them first, each with its whole summary."""

    def get_help(self, ctx: click.Context) -> str:
        return spelled(super().get_help(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(SUMMARY)) for name, command in self.commands.items()])
        write_options(ctx, formatter, "Options", self.get_params(ctx))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        refuse_unknown(ctx, args[0], self.commands)
        return super().resolve_command(ctx, args)


def refuse_unknown(ctx: click.Context, name: str, known: Iterable[str]) -> None:
    """Raises UsageError for a command that there isn't, with the one that was probably meant. A shell that completes is told nothing."""
    if name in known or name.startswith("-") or ctx.resilient_parsing:
        return
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    ctx.fail(f"no command {name!r}; did you mean {close[0]!r}?" if close else f"no command {name!r}")


def write_options(ctx: click.Context, formatter: click.HelpFormatter, title: str, params: list[click.Parameter]) -> None:
    """One section of options of a help page."""
    options = (parameter for parameter in params if isinstance(parameter, click.Option))
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


pass_settings = click.make_pass_decorator(Settings, ensure=True)
