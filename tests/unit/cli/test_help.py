"""The help pages and docs/cli.md name every command and every exit code."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from matrix_cli.exits import Exit
from matrix_cli.main import ENTRIES, matrix
from matrix_cli.settings import Command
from tests.unit.cli.runner import run
from tests.unit.client.worlds import World

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def command(name: str) -> click.Command:
    found = matrix.get_command(click.Context(matrix), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ENTRIES)
def test_the_summary_on_the_first_page_is_the_command_s_own(name: str) -> None:
    assert command(name).get_short_help_str(200) == ENTRIES[name].summary


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_has_the_common_options_and_a_help_page(empty: World, name: str) -> None:
    result = run(empty, name, "-h")

    assert result.exit_code == Exit.OK
    assert isinstance(command(name), (Command, click.Group))
    if isinstance(command(name), Command):
        assert all(option in result.stdout for option in ("Common options:", "--namespace", "--home", "--debug"))


def test_the_first_page_names_commands_and_exit_codes(empty: World) -> None:
    text = run(empty, "--help").stdout

    assert all(f"  {name} " in text for name in ENTRIES)
    assert all(f"  {int(code):<3}  {code.text}" in text for code in Exit)


def every_command() -> Iterator[tuple[str, click.Command]]:
    """With its whole name; groups by what is in them."""
    for name in ENTRIES:
        found = command(name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", found.commands[inner]) for inner in found.commands)
        else:
            yield name, found


def test_the_documentation_names_every_command_option_and_exit_code() -> None:
    text = PAGE.read_text()

    for name, found in every_command():
        row = next((line for line in text.splitlines() if line.startswith((f"| `matrix {name} ", f"| `matrix {name}`"))), "")
        assert row, name
        for parameter in found.params:
            common = parameter.name in {"given_namespace", "context", "home", "debug"}
            if isinstance(parameter, click.Option) and not common:
                assert any(f"{option}" in row for option in parameter.opts), (name, parameter.opts)
    for option in ("namespace", "context", "home", "debug"):
        assert f"`--{option}" in text
    for code in Exit:
        assert f"| {int(code)} | {code.text} |" in text


def test_the_version_names_what_a_cluster_is_made_of(empty: World) -> None:
    lines = run(empty, "--version").stdout.splitlines()

    assert lines[0] == f"matrix {version('matrix-operator')}"
    assert [line.split()[0] for line in lines] == ["matrix", "python", "ray", "vllm"]


@pytest.mark.parametrize(
    ("words", "says"), [(("gte",), "did you mean 'get'?"), (("keys", "isue"), "did you mean 'issue'?"), (("xyz",), "no command 'xyz'")]
)
def test_an_unknown_command_is_one_line(empty: World, words: tuple[str, ...], says: str) -> None:
    result = run(empty, *words)

    assert (result.exit_code, len(result.stderr.splitlines())) == (Exit.INVALID, 1)
    assert says in result.stderr


@pytest.mark.parametrize("name", [name for name in ENTRIES if isinstance(command(name), click.Group)])
def test_a_group_shows_its_commands_with_their_whole_summaries(empty: World, name: str) -> None:
    text = " ".join(run(empty, name, "--help").stdout.split())

    for inner in command(name).commands.values():  # type: ignore[attr-defined]
        assert inner.get_short_help_str(200) in text


@pytest.mark.parametrize(("name", "found"), list(every_command()), ids=lambda value: value if isinstance(value, str) else "")
def test_options_explain_themselves(name: str, found: click.Command) -> None:
    for parameter in found.params:
        assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)
