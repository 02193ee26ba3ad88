"""Fragments of a pod template."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_operator.backends.kuberay.overlay import FragmentProblem, overlay

BASE = {
    "metadata": {"labels": {"a": "1", "b": "2"}},
    "spec": {
        "containers": [
            {"name": "ray", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "command": ["a", "b"]}
        ],
        "volumes": [{"name": "models", "emptyDir": {}}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "hostNetwork": False,
    },
}


@pytest.mark.parametrize(
    ("fragment", "path", "result"),
    [
        ({"metadata": {"labels": {"b": "3", "env": "prod"}}}, ("metadata", "labels"), {"a": "1", "b": "3", "env": "prod"}),
        ({"spec": {"hostNetwork": True}}, ("spec", "hostNetwork"), True),
        ({"spec": {"affinity": {"nodeAffinity": {}}}}, ("spec", "affinity"), {"nodeAffinity": {}}),
        (
            {"spec": {"containers": [{"name": "ray", "env": [{"name": "B", "value": "9"}, {"name": "C", "value": "3"}]}]}},
            ("spec", "containers", 0, "env"),
            [{"name": "A", "value": "1"}, {"name": "B", "value": "9"}, {"name": "C", "value": "3"}],
        ),
        ({"spec": {"containers": [{"name": "ray", "command": ["c"]}]}}, ("spec", "containers", 0, "command"), ["c"]),
        (
            {"spec": {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
            ("spec", "volumes"),
            [{"name": "models", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
        ),
        (
            {"spec": {"tolerations": [{"operator": "Exists"}]}},
            ("spec", "tolerations"),
            [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"}],
        ),
        ({"metadata": {"annotations": {"env": "prod"}}}, ("metadata", "annotations"), {"env": "prod"}),
    ],
)
def test_a_fragment_is_merged_by_name(fragment: dict[str, Any], path: tuple[str | int, ...], result: Any) -> None:
    found: Any = overlay(BASE, fragment)
    for step in path:
        found = found[step]
    assert found == result


@pytest.mark.parametrize(
    ("fragment", "place"),
    [
        ({"spec": "x"}, "template.spec must be a mapping"),
        ({"spec": {"containers": {"name": "ray"}}}, "template.spec.containers must be a list"),
        ({"spec": {"containers": [{"image": "y"}]}}, "template.spec.containers[0] must be a mapping with `name`"),
        ({"spec": {"containers": [{"name": "new", "env": ["A=1"]}]}}, "template.spec.containers[0].env[0] must be a mapping with `name`"),
    ],
)
def test_what_can_not_be_merged_is_named_with_its_place(fragment: dict[str, Any], place: str) -> None:
    with pytest.raises(FragmentProblem) as caught:
        overlay(BASE, fragment)
    assert str(caught.value) == place


_ENTRIES = st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "value": st.integers()}), unique_by=lambda entry: entry["name"])
_TEMPLATES = st.fixed_dictionaries(
    {}, optional={"env": _ENTRIES, "labels": st.dictionaries(st.sampled_from("xyz"), st.text()), "n": st.integers()}
)


@given(base=_TEMPLATES, fragment=_TEMPLATES)
def test_laying_it_over_twice_is_laying_it_over_once_and_changes_no_argument(base: dict[str, Any], fragment: dict[str, Any]) -> None:
    before = deepcopy((base, fragment))
    once = overlay(base, fragment)
    assert overlay(once, fragment) == once
    assert (base, fragment) == before
