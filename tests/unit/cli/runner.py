"""Running `matrix` in this process, on a state directory of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from matrix_cli.main import matrix
from tests.unit.client.worlds import World

MANIFESTS = """\
kind: MatrixCluster
apiVersion: matrix.dev/v1alpha1
metadata: {name: lab}
---
kind: ModelDeployment
apiVersion: matrix.dev/v1alpha1
metadata: {name: chat}
spec:
  clusterRef: {name: lab}
  model: {source: "hf://org/model"}
  engine: {dummy: {}}
"""


def run(world: World, *args: str | Path, stdin: str | None = None) -> Result:
    """The result of `matrix ARGS` on the world's state directory."""
    return CliRunner().invoke(matrix, [*map(str, args)], input=stdin, env={"MATRIX_HOME": str(world.home.root)})


def records(result: Result) -> list[Any]:
    """The JSON values of an output of JSON lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def write(directory: Path, text: str = MANIFESTS, name: str = "lab.yaml") -> Path:
    """A manifest file."""
    file = directory / name
    file.write_text(text)
    return file
