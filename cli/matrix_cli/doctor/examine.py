"""All the looks, each on its own: one that fails says so and hides no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from matrix_cli.doctor import leftovers, machine, network, software, state
from matrix_cli.doctor.findings import Finding, problem
from matrix_store.home import Home

Look = Callable[[], Iterable[Finding]]


def examine(home: Home, environ: Mapping[str, str]) -> dict[str, list[Finding]]:
    """The findings by section."""
    looks: dict[str, Look] = {
        "Software": software.look,
        "Machine": lambda: machine.look(home.root, environ),
        "Network": lambda: network.look(environ),
        "State": lambda: state.look(home),
        "Leftovers": lambda: leftovers.look(home),
    }
    with ThreadPoolExecutor(len(looks)) as threads:
        return dict(zip(looks, threads.map(_findings, looks.values()), strict=True))


def _findings(look: Look) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in look():
            found.append(finding)  # noqa: PERF402 (what was found before a failure counts)
    except ImportError as error:
        found.append(problem("this look", f"needs {error.name}", "pip install 'matrix-operator[operator,cluster]'"))
    except Exception as error:
        found.append(problem("this look", f"failed: {type(error).__name__}: {error}", "please report it"))
    return found
