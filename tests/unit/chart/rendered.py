"""What the chart makes of some values, as files that are looked at in reviews, and the kustomize base, which is made of them.

`python -m tests.unit.chart.rendered` writes all of it anew; it needs Helm, which it builds if it is not there (tests/lab/helm.py).
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from matrix_crds.yaml_writer import yaml_text
from tests.lab import helm
from tests.lab.errors import LabError

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "matrix-operator"
HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
VALUES = HERE / "values"
CASES = ("default", "namespaced", "full", "hub")
"""`default` without any value; the others with the values in the file of that name."""
KUSTOMIZE = ROOT / "deploy" / "kustomize"
NAMESPACE = "matrix-system"
"""Of the kustomize base, as in deploy/rbac."""
COMMAND = "python -m tests.unit.chart.rendered"
NOTE = f"# made by `{COMMAND}` from charts/matrix-operator; do not edit\n"
HELMS_OWN = ("helm.sh/", "meta.helm.sh/", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "checksum/")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

Object = dict[str, Any]


def goldens() -> dict[Path, str]:
    """Each golden file with what must be in it. The kinds are left out: they are files already. Raises LabError."""
    return {GOLDEN / f"{case}.yaml": _text(case) for case in CASES}


def _text(case: str) -> str:
    options = [] if case == "default" else ["--values", str(VALUES / f"{case}.yaml")]
    text = helm.helm("template", "matrix", str(CHART), "--namespace", "matrix", *options)
    parts = [part for part in text.split("---\n") if part.strip() and "\nkind: CustomResourceDefinition\n" not in part]
    return NOTE + "---\n" + "---\n".join(f"{part.rstrip()}\n" for part in parts)


@cache
def objects(case: str) -> list[Object]:
    """Of a golden file; not to be changed."""
    return [found for found in yaml.safe_load_all((GOLDEN / f"{case}.yaml").read_text()) if found]


def kustomize() -> dict[Path, str]:
    """The base: the default without what is Helm's own (its hooks, its labels), and with the namespace."""
    made = [_plain(found) for found in objects("default") if "helm.sh/hook" not in found["metadata"].get("annotations", {})]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": RESTRICTED}}
    kinds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    contents = {"operator.yaml": [namespace, *made], "kinds.yaml": kinds}
    files = {KUSTOMIZE / name: NOTE + "---\n".join(yaml_text(one, width=140) for one in found) for name, found in contents.items()}
    entry = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(contents)}
    return files | {KUSTOMIZE / "kustomization.yaml": NOTE + yaml_text(entry)}


def _plain(found: Any) -> Any:
    """For a namespace of its own, and without marks of Helm's."""
    if isinstance(found, list):
        return [_plain(one) for one in found]
    if not isinstance(found, dict):
        return found
    kept = {key: _plain(value) for key, value in found.items() if not key.startswith(HELMS_OWN)}
    there = {key: value for key, value in kept.items() if value or key not in ("labels", "annotations")}
    return {key: NAMESPACE if (key, value) == ("namespace", "matrix") else value for key, value in there.items()}


def main() -> int:
    """Writes what is not as it would be written. 1 when Helm can't be had or refuses the chart."""
    try:
        made = goldens()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _write(made)
    _write(kustomize())
    return 0


def _write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
