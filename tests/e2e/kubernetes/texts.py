"""Manifests as text: scalars that YAML readers are known to take in different ways, in a field of each type, and doubtful documents."""

from __future__ import annotations

from matrix_crds.constants import API_VERSION

SCALARS = (
    "1", "+1", "-1", "-0", "00", "01", "010", "08", "0o10", "0o8", "0O7", "0x10", "0X10", "+0x10", "-0x10", "0x",
    "0b10", "0B1", "-0b1", "0b2", "1_000", "1__0", "_1", "1,000", "1-", "+", "-x",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775808",
    "-9223372036854775809", "0x8000000000000000", "0xfffffffffffffffff",
    "1e3", "1E3", "1e+3", "1e", "1e999", "1.0", "1.", "0.", ".", ".5", "-.5", "0.5", "1.5e1", "1.5_0", "1_0.5", ".5_0", "._5",
    ".inf", ".Inf", "+.inf", "-.inf", ".nan", "infinity", "nan",
    "~", "null", "Null", "NULL", "nULL", "",
    "true", "True", "TRUE", "tRUE", "yes", "Yes", "no", "on", "On", "off", "OFF", "y", "Y", "n", "N",
    "2026-01-31", "2026-01-31T12:00:00Z", "12:00:00", "1:30",
    "'1'", '"true"', "'a\n\n    b'", "|-\n    x", "x: y", "[1]", "{}", "@x", "=", "<<", "8Gi",
    "!!str 1", "!!int '1'", "!!float 1", "!!bool yes", "!custom 1",
)  # fmt: skip
FIELDS = {
    "whole number": "spec:\n  workerGroups:\n  - name: a\n    replicas: {}",
    "number": "spec:\n  workerGroups:\n  - name: a\n    rayResources:\n      slots: {}",
    "boolean": "spec:\n  suspend: {}",
    "quantity": "spec:\n  head:\n    resources:\n      cpu: {}",
    "text": "spec:\n  backend:\n    kubernetes:\n      image: {}",
    "time": "spec:\n  upgradePolicy:\n    restartedAt: {}",
    "key": "metadata:\n  name: lab\n  labels:\n    {}: x",
}
HEAD = f"apiVersion: {API_VERSION}\nkind: MatrixCluster\n"
NAMED = f"{HEAD}metadata:\n  name: lab\n"
DOCUMENTS = {
    "a field twice": f"{NAMED}spec:\n  suspend: true\n  suspend: true\n",
    "spec twice": f"{NAMED}spec: {{}}\nspec: {{}}\n",
    "a field twice in JSON": f'{{"apiVersion": "{API_VERSION}", "kind": "MatrixCluster", "metadata": {{"name": "a", "name": "a"}}}}',
    "an anchor": f"{NAMED}  labels: &x\n    a: b\n  annotations: *x\n",
    "a merge": f"{NAMED}  labels: &x\n    a: b\n  annotations:\n    <<: *x\n    c: d\n",
    "an alias without its anchor": f"{NAMED}  labels: *x\n",
    "a tab": f"{NAMED}spec:\n\tsuspend: true\n",
    "comments": f"# one\n{NAMED}# two\nspec: # three\n  suspend: true # four\n",
    "a start of the document": f"---\n{NAMED}",
    "an end of the document": f"{NAMED}...\n",
    "a directive": f"%YAML 1.1\n---\n{NAMED}",
    "line ends of Windows": NAMED.replace("\n", "\r\n"),
    "a byte order mark": f"\ufeff{NAMED}",
    "a list": f"- {HEAD}".replace("\n", "\n  "),
    "text": "lab",
    "a number": "3",
    "a bracket that is open": f"{NAMED}spec: {{",
}


def texts() -> dict[str, str]:
    """All of them, by name."""
    lines = {
        f"{field}: {scalar!r}": f"{HEAD if field == 'key' else NAMED}{line.format(scalar)}\n"
        for field, line in FIELDS.items()
        for scalar in SCALARS
    }
    return lines | DOCUMENTS
