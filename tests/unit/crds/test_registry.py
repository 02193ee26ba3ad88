"""Kinds are found by any of their names, without loading their models."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import matrix_crds
from matrix_crds.errors import ManifestError, UnknownKind
from matrix_crds.registry import KINDS, lookup


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_every_name_of_a_kind_finds_it_in_any_case(info: matrix_crds.KindInfo) -> None:
    for name in info.names:
        assert lookup(name) is lookup(name.upper()) is info


def test_names_are_not_shared_between_kinds() -> None:
    names = [name for info in KINDS for name in {name.lower() for name in info.names}]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mxq", "did you mean mx"),
        ("modeldeploymnet", "did you mean modeldeployment?"),
        ("pod", "MatrixCluster (mxc), ModelDeployment (mxd)"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_and_the_list(text: str, words: str) -> None:
    with pytest.raises(UnknownKind, match=f"there is no kind '{text}'") as caught:
        lookup(text)
    assert words in str(caught.value)
    assert isinstance(caught.value, ManifestError)


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_a_kind_leads_to_its_model_conditions_and_reasons(info: matrix_crds.KindInfo) -> None:
    assert info.model.model_fields["kind"].default == info.kind
    assert "Ready" in list(info.conditions) and "Ready" in list(info.reasons)
    assert all(member.meaning for enum in (info.conditions, info.reasons) for member in enum)


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_columns_show_fields_that_exist(info: matrix_crds.KindInfo) -> None:
    from matrix_crds.tree import walk

    for column in info.columns:
        plain = re.sub(r'\[\?\(@\.\w+=="\w+"\)\]', ".0", column.json_path)
        location = tuple(int(part) if part.isdigit() else part for part in plain.removeprefix(".").split("."))
        assert walk(info.model, location) is not None, column


def test_the_tables_are_as_designed() -> None:
    tables = {info.short: " ".join(column.name.upper() for column in info.columns if not column.priority) for info in KINDS}
    assert tables == {"mxc": "READY BACKEND WORKERS SUMMARY AGE", "mxd": "READY MODEL REPLICAS SUMMARY AGE"}
    assert [column.name for info in KINDS for column in info.columns if column.priority] == ["Reason", "Endpoint"] * 2


def test_public_names_are_there_and_load_only_when_used() -> None:
    for name in matrix_crds.__all__:
        assert getattr(matrix_crds, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = matrix_crds.nothing  # type: ignore[attr-defined]


def test_listing_kinds_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, matrix_crds.registry, matrix_crds.errors, matrix_crds.reasons; matrix_crds.lookup('mxc'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "matrix_crds.registry" in loaded
    assert not {"pydantic", "pydantic_core", "yaml"} & set(loaded)


def test_validating_does_not_load_yaml() -> None:
    code = "import sys, matrix_crds.validation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pydantic" in loaded and "yaml" not in loaded
