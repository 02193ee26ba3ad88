"""The controller's own metrics, and those of an operator on Kubernetes besides: docs/metrics.md. The names follow controller-runtime's,
so that known dashboards fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from matrix_store.port import StoredObject

Labels = tuple[str, ...]


class Series:
    """A gauge whose series come and go with what they tell of."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: dict[Labels, float] = {}

    def show(self, values: Mapping[Labels, float]) -> None:
        """These and no others. What has not changed costs nothing, and a scrape meanwhile misses nothing that stays."""
        for gone in self._shown.keys() - values.keys():
            self._gauge.remove(*gone)
        for labels, value in values.items():
            if self._shown.get(labels) != value:
                self._gauge.labels(*labels).set(value)
        self._shown = dict(values)


class ControllerMetrics:
    """One registry per controller, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("matrix_reconcile_total", "Reconciles by kind and result", ["kind", "result"], registry=self.registry)
        self.seconds = Histogram("matrix_reconcile_seconds", "Duration of a reconcile", ["kind"], registry=self.registry)
        self.errors = Counter("matrix_reconcile_errors_total", "Errors by fate: retry, user, bug", ["kind", "fate"], registry=self.registry)
        self.queue = Gauge("matrix_queue_depth", "Keys that are due and wait", ["kind"], registry=self.registry)
        self.steps = Counter("matrix_steps_total", "Steps carried out, by kind of step", ["step"], registry=self.registry)
        self._objects = Series(
            Gauge("matrix_objects", "Objects by kind and by the status of Ready", ["kind", "ready"], registry=self.registry)
        )
        self._conditions = Series(
            Gauge(
                "matrix_object_condition",
                "1 for each condition of each object, with its status and reason",
                ["kind", "namespace", "name", "condition", "status", "reason"],
                registry=self.registry,
            )
        )

    def show(self, objects: Iterable[StoredObject]) -> None:
        """All that there are."""
        counts: dict[Labels, float] = {}
        conditions: dict[Labels, float] = {}
        for stored in objects:
            key, ready = stored.key, "Unknown"
            for condition, status, reason in _conditions(stored):
                ready = status if condition == "Ready" else ready
                conditions[key.kind, key.namespace, key.name, condition, status, reason] = 1.0
            counts[key.kind, ready] = counts.get((key.kind, ready), 0.0) + 1.0
        self._objects.show(counts)
        self._conditions.show(conditions)

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
