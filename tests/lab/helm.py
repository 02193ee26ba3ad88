"""Helm and helm-unittest, compiled from Go modules into the lab's cache, and one release of a chart.

`python -m tests.lab.helm` builds them by hand and prints where they are.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.lab import build
from tests.lab.errors import LabError

SOURCES = Path(__file__).parent / "go_helm"
"""The Go module that pins both."""
PROGRAMS: Mapping[str, str] = {
    "helm": "helm.sh/helm/v3/cmd/helm",
    "helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
}
_VERSION = "helm.sh/helm/v3/internal/version.version"
_KUBERNETES = ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules")
"""Packages that have the version of Kubernetes for which a chart is rendered when no cluster is asked."""
_SECONDS = 300.0


def ensure(tell: Callable[[str], object] = lambda _: None) -> Path:
    """The directory that holds both programs, after building what was not there. Raises GoMissing, LabError."""
    return build.ensure(PROGRAMS, tell, sources=SOURCES, stamps=_stamps())


def version() -> str:
    """Of Helm, as the module pins it, such as v3.22.0."""
    return _pinned("helm.sh/helm/v3")


def helm(*arguments: str, stdin: str | None = None) -> str:
    """What Helm printed. It reads and writes nothing of its user's. Raises LabError with what it complained of."""
    return _run("helm", *arguments, stdin=stdin)


def render(chart: Path, *arguments: str, name: str = "matrix", namespace: str = "matrix") -> list[dict[str, Any]]:
    """The objects that `helm template` makes of a chart, CRDs that are none of its templates apart."""
    text = helm("template", name, str(chart), "--namespace", namespace, *arguments)
    return [made for made in yaml.safe_load_all(text) if made]


def unittest(chart: Path, *arguments: str) -> str:
    """The report of the chart's own tests. Raises LabError with it when one fails."""
    return _run("helm-unittest", *arguments, str(chart))


@dataclass(frozen=True)
class Release:
    """A chart that is installed in a cluster, or is going to be."""

    kubeconfig: Path
    """An administrator's."""
    name: str
    namespace: str

    def run(self, command: str, *arguments: str) -> str:
        """`helm COMMAND NAME ...` for this release. Raises LabError."""
        where = ("--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace)
        return helm(command, self.name, *arguments, *where)

    @property
    def installed(self) -> bool:
        """Whether there is such a release, in whatever state."""
        where = ("--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace)
        return bool(json.loads(helm("list", "--all", "--filter", f"^{self.name}$", "--output", "json", *where)))

    def revisions(self) -> list[str]:
        """What became of each revision, the first one first: `superseded`, `deployed`, `failed`."""
        return [str(entry["status"]) for entry in json.loads(self.run("history", "--output", "json"))]


def _run(program: str, *arguments: str, stdin: str | None = None) -> str:
    directory = _built()
    # Helm's own cache, settings and plugins would be the user's.
    homes = {f"HELM_{kind}_HOME": str(directory / "home" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    try:
        done = subprocess.run(
            [str(directory / program), *arguments],
            env={"PATH": "/usr/bin:/bin", "HOME": str(directory / "home"), **homes},
            input=stdin,
            text=True,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"`{program} {arguments[0]}` did not end within {_SECONDS:g} s") from None
    if done.returncode:
        raise LabError(f"`{program} {' '.join(arguments)}` failed: {done.stderr.strip()}\n{done.stdout.strip()}".strip())
    return done.stdout


@cache
def _built() -> Path:
    return ensure()


def _stamps() -> Mapping[str, str]:
    """As Helm's own Makefile sets them: without, it renders for Kubernetes 1.20."""
    _, minor, _ = _pinned("k8s.io/client-go").split(".")
    numbers = {"k8sVersionMajor": "1", "k8sVersionMinor": minor}
    return {_VERSION: version(), **{f"{package}.{name}": value for package in _KUBERNETES for name, value in numbers.items()}}


def _pinned(module: str) -> str:
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise LabError(f"{SOURCES / 'go.mod'} does not require {module}")
    return found[1]


if __name__ == "__main__":
    sys.exit(build.by_hand("tests.lab.helm", sys.argv[1:], ensure))
