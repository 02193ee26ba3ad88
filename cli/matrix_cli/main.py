"""`matrix`: the command line. This module stays light; a command's own module is imported when the command is called."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from matrix_cli.colours import coloured
from matrix_cli.exits import Exit
from matrix_cli.lazy import Entry, LazyGroup
from matrix_cli.program import current, spelled
from matrix_cli.settings import Settings, common_options, write_options

ENTRIES = {
    "up": Entry("Run", "matrix_cli.commands.up", "Apply manifests and wait until everything is ready."),
    "down": Entry("Run", "matrix_cli.commands.down", "Delete objects and wait until nothing of them is left."),
    "chat": Entry("Run", "matrix_cli.commands.chat", "Talk with a model."),
    "get": Entry("Look", "matrix_cli.commands.get", "List objects."),
    "describe": Entry("Look", "matrix_cli.commands.describe", "Show everything that is known about an object."),
    "why": Entry("Look", "matrix_cli.commands.why", "Say in plain words why an object is not ready, and what to do."),
    "events": Entry("Look", "matrix_cli.commands.events", "Show what happened."),
    "logs": Entry("Look", "matrix_cli.commands.logs", "Show the logs of an object or of the controller."),
    "explain": Entry("Look", "matrix_cli.commands.explain", "Say what a kind or a field is."),
    "doctor": Entry("Look", "matrix_cli.commands.doctor", "Look for what is wrong with this machine or cluster, and say what to do."),
    "apply": Entry("Change", "matrix_cli.commands.apply", "Create or change what manifests declare, without waiting."),
    "diff": Entry("Change", "matrix_cli.commands.diff", "Show what applying manifests would change."),
    "scale": Entry("Change", "matrix_cli.commands.scale", "Change how many replicas a model has."),
    "rollout": Entry("Change", "matrix_cli.commands.rollout", "Restart what runs, or follow a change until it has arrived."),
    "delete": Entry("Change", "matrix_cli.commands.delete", "Delete objects."),
    "wait": Entry("Change", "matrix_cli.commands.wait", "Wait until objects are as wanted."),
    "port-forward": Entry("Connect", "matrix_cli.commands.port_forward", "Bring a cluster's endpoint to a port of this machine."),
    "env": Entry("Connect", "matrix_cli.commands.env", "Print the variables that OpenAI's clients read."),
    "keys": Entry("Connect", "matrix_cli.commands.keys", "Issue, list and revoke keys for a cluster's endpoint."),
    "completion": Entry("Set up", "matrix_cli.commands.completion", "Print the script that completes commands in your shell."),
    "bridge": Entry("Set up", "matrix_cli.commands.bridge", "Run clusters as jobs of a Slurm site, as an ordinary user of it."),
    "controller": Entry("Set up", "matrix_cli.commands.controller", "Run, look at or stop the controller."),
    "operator": Entry("Set up", "matrix_cli.commands.operator", "Run the operator of a Kubernetes cluster."),
}
OF_THIS_MACHINE = ("bridge", "completion", "controller")
"""kubectl completes its plugins itself, and speaks to clusters alone."""


class Root(LazyGroup):
    """The top command: its help names the exit codes, its errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options()]

    def get_help(self, ctx: click.Context) -> str:
        return spelled(super().get_help(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, "Options", self.get_params(ctx))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.text) for code in Exit])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would end with 1
            from matrix_cli.failure import reader_left

            return reader_left()

    def main(self, args: Any = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run a command line and exit with its code. Never lets an exception through, but for --debug."""
        extra["standalone_mode"] = False
        if not coloured(os.environ):
            extra["color"] = False
        given = list(sys.argv[1:] if args is None else args)
        settings = extra.setdefault("obj", Settings())
        try:
            result = super().main(given, prog_name, *rest, **extra)
        except BaseException as error:
            from matrix_cli.failure import report

            result = report(error, settings.spelled, debug="--debug" in given)
        sys.exit(result if isinstance(result, int) else Exit.OK)


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from matrix_cli.versions import version_lines

        click.echo("\n".join(version_lines()))
        ctx.exit()


@click.group(
    cls=Root,
    entries={name: entry for name, entry in ENTRIES.items() if not (current().plugin and name in OF_THIS_MACHINE)},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the versions and exit.")
def matrix() -> None:
    """Data-centric AI experiments on Ray: one manifest, a cluster, models that answer.

    Try `matrix up examples/quickstart.yaml`, then `matrix chat smollm2 "Hello"`.
    """


def main() -> NoReturn:
    """The entry point of the `matrix` script."""
    matrix.main(prog_name="matrix")
