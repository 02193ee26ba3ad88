"""The controller's own metrics, and those of an operator on Kubernetes besides: docs/metrics.md. The names follow controller-runtime's,
so that known dashboards fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from matrix_store.port import StoredObject


class ObjectsCollector(Collector):
    """What is told of the objects there are, worked out when somebody asks: with thousands of them that is seldom, and each second it
    would be what costs most."""

    def __init__(self, objects: Callable[[], Iterable[StoredObject]]) -> None:
        self.objects = objects

    def collect(self) -> Iterator[Metric]:
        """In the thread of whoever asks."""
        counts: dict[tuple[str, str], int] = {}
        each = GaugeMetricFamily(
            "matrix_object_condition",
            "1 for each condition of each object, with its status and reason",
            labels=["kind", "namespace", "name", "condition", "status", "reason"],
        )
        for stored in self.objects():
            key, ready = stored.key, "Unknown"
            for condition, status, reason in dict.fromkeys(_conditions(stored)):  # a series that is told twice spoils the whole scrape
                ready = status if condition == "Ready" else ready
                each.add_metric([key.kind, key.namespace, key.name, condition, status, reason], 1.0)
            counts[key.kind, ready] = counts.get((key.kind, ready), 0) + 1
        found = GaugeMetricFamily("matrix_objects", "Objects by kind and by the status of Ready", labels=["kind", "ready"])
        for labels, count in counts.items():
            found.add_metric(labels, count)
        yield found
        yield each


class ControllerMetrics:
    """One registry per controller, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("matrix_reconcile_total", "Reconciles by kind and result", ["kind", "result"], registry=self.registry)
        self.seconds = Histogram("matrix_reconcile_seconds", "Duration of a reconcile", ["kind"], registry=self.registry)
        self.errors = Counter("matrix_reconcile_errors_total", "Errors by fate: retry, user, bug", ["kind", "fate"], registry=self.registry)
        self.queue = Gauge("matrix_queue_depth", "Keys that are due and wait", ["kind"], registry=self.registry)
        self.steps = Counter("matrix_steps_total", "Steps carried out, by kind of step", ["step"], registry=self.registry)
        self._collector: ObjectsCollector | None = None

    def tell_of(self, objects: Callable[[], Iterable[StoredObject]]) -> None:
        """From now on the metrics tell of these objects and no others, as they are whenever somebody asks: it is called in another
        thread. An engine that comes after another has other objects."""
        if self._collector is None:
            self._collector = ObjectsCollector(objects)
            self.registry.register(self._collector)
        self._collector.objects = objects

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Serve /metrics, by default on a free port of loopback; returns the port. Raises OSError."""
        server, _thread = start_http_server(port, addr=host, registry=self.registry)
        return int(server.server_port)


def _conditions(stored: StoredObject) -> Iterator[tuple[str, str, str]]:
    """Type, status and reason of each."""
    for item in (stored.raw.get("status") or {}).get("conditions") or []:
        yield str(item.get("type")), str(item.get("status", "Unknown")), str(item.get("reason", ""))


class OperatorMetrics(ControllerMetrics):
    """Of one of several processes, that follows an API server."""

    def __init__(self) -> None:
        super().__init__()
        self.leader = Gauge(
            "matrix_leader", "1 in the process that holds the lease and acts, 0 in those that stand by", registry=self.registry
        )
        self.watch_age = Gauge(
            "matrix_watch_age_seconds", "Since the quietest watch of a group was last answered", ["watch"], registry=self.registry
        )
        self.api_calls = Counter(
            "matrix_api_calls_total",
            "Calls to the API server, watches apart; code none: no answer",
            ["method", "code"],
            registry=self.registry,
        )

    def heard(self, method: str, code: str) -> None:
        """Counts a call (matrix_store.kubernetes.api.CallHook)."""
        self.api_calls.labels(method, code).inc()
