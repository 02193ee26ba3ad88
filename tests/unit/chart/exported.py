"""Every metric that is really exported, with its labels: from the registries themselves, and for vLLM from its installed sources."""

from __future__ import annotations

import ast
import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from matrix_operator.hub.metrics import HubMetrics
from matrix_operator.metrics import ObjectsCollector, OperatorMetrics
from matrix_runtime.gateway.metrics import BACKEND, FRONTEND, Collector
from matrix_runtime.gateway.waiting import WaitingRoom
from matrix_runtime.ongoing import Request
from matrix_runtime.serving.meter import Meter
from matrix_store.port import StoredObject
from tests.unit.chart.promql import Asked

OF_PROMETHEUS = {"up": frozenset[str]()}
SCRAPED = frozenset({"namespace", "cluster", "component", "deployment", "instance", "job", "pod"})
"""What a target has by docs/metrics.md, beside the labels of its metrics."""
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@cache
def exported() -> Mapping[str, frozenset[str]]:
    """Labels by the name of the series, as PromQL knows it."""
    return {**_of_operator(), **_of_replica(), **_of_gateway(), **_of_vllm(), **OF_PROMETHEUS}


def _of_operator() -> dict[str, frozenset[str]]:
    registry = OperatorMetrics().registry
    HubMetrics(registry)
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
    known = StoredObject({"kind": "MatrixCluster", "metadata": {"name": "a", "namespace": "t"}, "status": ready})
    return {**dict(_named(_labels_of(registry))), **_sampled(ObjectsCollector(lambda: [known]).collect())}


def _labels_of(registry: CollectorRegistry) -> Iterator[tuple[str, str, frozenset[str]]]:
    for metric in registry._collector_to_names:  # no public way tells the labels of a metric without samples
        (family,) = metric.describe() if hasattr(metric, "describe") else metric.collect()
        yield family.name, family.type, frozenset(metric._labelnames)


def _of_replica() -> dict[str, frozenset[str]]:
    meter = Meter("m")
    request = Request("chat", "http", None)
    meter.begun(request)
    meter.ended(request)
    meter.retried("chat", "http")
    return _sampled(meter.collect())


def _of_gateway() -> dict[str, frozenset[str]]:
    rows = [defaultdict(str, type=FRONTEND, pxname="openai"), defaultdict(str, type=BACKEND, pxname="slot")]
    nothing_known: Any = None
    return _sampled(Collector(rows, {"slot": "m"}, WaitingRoom(nothing_known)).collect())


def _sampled(families: Iterable[Metric]) -> dict[str, frozenset[str]]:
    return {sample.name: frozenset(sample.labels) for family in families for sample in family.samples}


def _of_vllm() -> dict[str, frozenset[str]]:
    """Its sources are read and not imported: that would load torch."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.submodule_search_locations, "vLLM is a part of the environment of the tests"
    source = Path(spec.submodule_search_locations[0]) / "v1" / "metrics" / "loggers.py"
    return dict(_named(_calls(ast.parse(source.read_text()))))


def _calls(tree: ast.Module) -> Iterator[tuple[str, str, frozenset[str]]]:
    base = next(node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "labelnames")
    for node in ast.walk(tree):
        given = {keyword.arg: keyword.value for keyword in node.keywords} if isinstance(node, ast.Call) else {}
        name = given.get("name")
        if isinstance(node, ast.Call) and isinstance(name, ast.Constant) and str(name.value).startswith("vllm:"):
            kind = next(kind for kind in _SUFFIXES if kind in ast.unparse(node.func).lower())
            labels = ast.unparse(given["labelnames"]).replace("labelnames", ast.unparse(base))
            yield str(name.value), kind, frozenset(_strings(ast.parse(labels)))


def _strings(tree: ast.AST) -> Iterator[str]:
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))


def _named(metrics: Iterable[tuple[str, str, frozenset[str]]]) -> Iterator[tuple[str, frozenset[str]]]:
    for name, kind, labels in metrics:
        for suffix in _SUFFIXES[kind]:
            yield name.removesuffix(suffix) + suffix, labels | ({"le"} if suffix == "_bucket" else set())


def missing_labels(asks: Asked) -> set[str]:
    """What a query matches, groups or joins by, and nothing that it asks for has."""
    known = exported()
    matched = {label for name, labels in asks.matched.items() for label in labels - known[name]}
    grouped = asks.grouped - frozenset[str]().union(*(known[name] for name in asks.names))
    return (matched | grouped) - SCRAPED
