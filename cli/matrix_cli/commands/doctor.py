"""`matrix doctor`: is this machine fit?"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from matrix_cli.exits import Exit
from matrix_cli.plural import plural
from matrix_cli.settings import Command, Settings, remote
from matrix_cli.tables import terminal_width
from matrix_client.context import LOCAL

if TYPE_CHECKING:
    from matrix_cli.doctor.findings import Finding

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command(cls=Command)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def doctor(ctx: click.Context, output: str) -> None:
    """Look for what is wrong with this machine or cluster, and say what to do.

    What is installed, memory, disks, limits, ports, GPUs, the state directory, and what former clusters have left; on Kubernetes the API
    server, what is installed in it, the operator, and your rights. Starts, ends and changes nothing. Exit code 1 when there is a problem;
    warnings alone give 0.
    """
    settings = ctx.ensure_object(Settings)
    sections = {
        section: [replace(finding, remedy=settings.spelled(finding.remedy)) for finding in found]
        for section, found in _sections(settings).items()
    }
    if output == "json":
        records = [{"section": section} | asdict(finding) for section, found in sections.items() for finding in found]
        click.echo(json.dumps(records, indent=2))
    else:
        click.echo("\n".join(page(sections, terminal_width() or sys.maxsize)))
    ctx.exit(Exit.FAILED if count(sections, "problem") else Exit.OK)


def _sections(settings: Settings) -> Mapping[str, Sequence[Finding]]:
    if settings.context != LOCAL:
        from matrix_cli.doctor import cluster

        return settings.run(lambda context: cluster.examine(remote(context, "a cluster"), settings.given_namespace))
    from matrix_cli.doctor.examine import examine
    from matrix_client.context import resolve_home

    return examine(resolve_home(settings.home), os.environ)


def count(sections: Mapping[str, Sequence[Finding]], state: str) -> int:
    """How many findings are of that state."""
    return sum(finding.state == state for found in sections.values() for finding in found)


def page(sections: Mapping[str, Sequence[Finding]], width: int) -> Iterator[str]:
    """The lines for a person."""
    column = max((len(finding.subject) for found in sections.values() for finding in found), default=0) + 2
    for section, found in sections.items():
        yield click.style(section, bold=True)
        for finding in found:
            mark, colour = MARKS[finding.state]
            lead = f"  {click.style(mark, fg=colour)} {finding.subject.ljust(column)}"
            yield from _hanging(lead, finding.fact, width)
            if finding.remedy:
                yield from _hanging(" " * (column + 4) + click.style("→ ", fg="cyan"), finding.remedy, width)
    yield ""
    yield _verdict(count(sections, "problem"), count(sections, "warning"))


def _hanging(lead: str, text: str, width: int) -> list[str]:
    """Text after a lead; its further lines stand below its beginning."""
    indent = len(click.unstyle(lead))
    pieces = textwrap.wrap(text, max(30, width - indent), break_on_hyphens=False, break_long_words=False) or [""]
    return [lead + pieces[0], *(" " * indent + piece for piece in pieces[1:])]


def _verdict(problems: int, warnings: int) -> str:
    told = [plural(number, word) for number, word in ((problems, "problem"), (warnings, "warning")) if number]
    if not told:
        return click.style("all is well", fg="green")
    return click.style(" and ".join(told), fg="red" if problems else "yellow", bold=True)
