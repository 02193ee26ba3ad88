"""The controller's own metrics, and those of an operator on Kubernetes besides: docs/metrics.md. The names follow controller-runtime's,
so that known dashboards fit."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class ControllerMetrics:
    """One registry per controller, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("matrix_reconcile_total", "Reconciles by kind and result", ["kind", "result"], registry=self.registry)
        self.seconds = Histogram("matrix_reconcile_seconds", "Duration of a reconcile", ["kind"], registry=self.registry)
        self.errors = Counter("matrix_reconcile_errors_total", "Errors by fate: retry, user, bug", ["kind", "fate"], registry=self.registry)
        self.queue = Gauge("matrix_queue_depth", "Keys that are due and wait", ["kind"], registry=self.registry)
        self.steps = Counter("matrix_steps_total", "Steps carried out, by kind of step", ["step"], registry=self.registry)
        self.objects = Gauge("matrix_objects", "Objects by kind and by the status of Ready", ["kind", "ready"], registry=self.registry)

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Serve /metrics, by default on a free port of loopback; returns the port. Raises OSError."""
        server, _thread = start_http_server(port, addr=host, registry=self.registry)
        return int(server.server_port)


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
