"""Times in a spec: what an API server takes for a time as well, no more and no less."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from matrix_crds.cluster import UpgradePolicy
from matrix_crds.errors import ManifestError
from matrix_crds.validation import validate


def restarted(at: Any) -> dict[str, Any]:
    spec = {"upgradePolicy": {"restartedAt": at}}
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": spec}


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.5+01:00", "2026-01-31T12:00:00.500000+01:00"),
        ("2024-02-29T23:59:59.123456-00:30", "2024-02-29T23:59:59.123456-00:30"),
        ("1970-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_with_its_zone_is_kept(text: str, stored: str) -> None:
    assert validate(restarted(text)).to_wire()["spec"]["upgradePolicy"]["restartedAt"] == stored


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1769860800",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31T12:00:00Z\n",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00.1234567Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_any_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        validate(restarted(text))
    (problem,) = caught.value.problems
    assert problem.path == "spec.upgradePolicy.restartedAt"
    assert problem.message.startswith("must be a time with its zone such as 2026-01-31T12:00:00Z, not before 1970, got ")


@pytest.mark.parametrize("value", [1769860800, True, [], ["2026-01-31T12:00:00Z"], {}])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ManifestError, match="restartedAt: must be a time such as 2026-01-31T12:00:00Z, got"):
        validate(restarted(value))


def test_python_code_gives_a_moment() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert UpgradePolicy(restarted_at=moment).to_wire()["restartedAt"] == "2026-01-31T12:00:00Z"
    for wrong in (datetime(2026, 1, 31, 12), datetime(1969, 1, 1, tzinfo=UTC)):
        with pytest.raises(ValueError, match="restarted_at"):
            UpgradePolicy(restarted_at=wrong)
