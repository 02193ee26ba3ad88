"""What the controller shows of the objects there are."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from matrix_operator.metrics import ControllerMetrics
from matrix_store.port import StoredObject


def stored(name: str, *conditions: dict[str, Any], kind: str = "MatrixCluster") -> StoredObject:
    status = {"status": {"conditions": list(conditions)}} if conditions else {}
    return StoredObject({"kind": kind, "metadata": {"name": name, "namespace": "team"}, **status})


def condition(type: str, status: str, reason: str = "R") -> dict[str, Any]:
    return {"type": type, "status": status, "reason": reason}


def telling_of(*objects: StoredObject) -> ControllerMetrics:
    metrics = ControllerMetrics()
    metrics.tell_of(lambda: objects)
    return metrics


def series(metrics: ControllerMetrics, name: str) -> set[tuple[tuple[str, ...], float]]:
    """Values of the labels, in their order, with the value."""
    (family,) = (family for family in metrics.registry.collect() if family.name == name)
    return {(tuple(sample.labels.values()), sample.value) for sample in family.samples}


def test_objects_are_counted_by_their_readiness() -> None:
    ready, not_ready = condition("Ready", "True"), condition("Ready", "False")
    models = (stored("m", ready, kind="ModelDeployment"),)
    metrics = telling_of(stored("a", ready), stored("b", ready), stored("c", not_ready), stored("d"), *models)
    assert series(metrics, "matrix_objects") == {
        (("MatrixCluster", "True"), 2.0),
        (("MatrixCluster", "False"), 1.0),
        (("MatrixCluster", "Unknown"), 1.0),
        (("ModelDeployment", "True"), 1.0),
    }


def test_each_condition_of_each_object_is_one_series() -> None:
    metrics = telling_of(stored("a", condition("BackendReachable", "Unknown", "BackendUnreachable"), condition("Ready", "True", "Ready")))
    assert series(metrics, "matrix_object_condition") == {
        (("MatrixCluster", "team", "a", "BackendReachable", "Unknown", "BackendUnreachable"), 1.0),
        (("MatrixCluster", "team", "a", "Ready", "True", "Ready"), 1.0),
    }


def test_a_condition_that_is_there_twice_is_told_once() -> None:
    metrics = telling_of(stored("a", condition("Ready", "True"), condition("Ready", "True")))
    (family,) = (family for family in metrics.registry.collect() if family.name == "matrix_object_condition")
    assert len(family.samples) == 1


def test_what_is_so_no_more_is_not_told_any_more() -> None:
    objects = [stored("a", condition("Ready", "False", "Starting")), stored("b", condition("Ready", "True", "Ready"))]
    metrics = ControllerMetrics()
    metrics.tell_of(lambda: objects)
    assert len(series(metrics, "matrix_object_condition")) == 2
    objects[:] = [stored("a", condition("Ready", "True", "Ready"))]
    assert series(metrics, "matrix_object_condition") == {(("MatrixCluster", "team", "a", "Ready", "True", "Ready"), 1.0)}
    assert series(metrics, "matrix_objects") == {(("MatrixCluster", "True"), 1.0)}
    objects.clear()
    assert series(metrics, "matrix_objects") == set()


def test_a_second_engine_s_objects_take_the_place_of_the_first_one_s() -> None:
    """One process may run several engines one after another; a series that is told twice spoils the whole scrape."""
    metrics = telling_of(stored("a", condition("Ready", "False")), stored("b", condition("Ready", "True")))
    metrics.tell_of(lambda: [stored("a", condition("Ready", "True"))])
    assert series(metrics, "matrix_objects") == {(("MatrixCluster", "True"), 1.0)}
    assert series(metrics, "matrix_object_condition") == {(("MatrixCluster", "team", "a", "Ready", "True", "R"), 1.0)}


def test_a_name_with_quotes_is_written_so_that_it_can_be_read_again() -> None:
    metrics = telling_of(stored("a", condition("Ready", "False", 'say "no"\n')))
    assert rb'reason="say \"no\"\n"' in generate_latest(metrics.registry)
