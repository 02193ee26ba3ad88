"""The controller's own metrics, served on loopback. The names follow controller-runtime's, so that known dashboards fit."""

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

    def serve(self) -> int:
        """Serve /metrics on a free port of 127.0.0.1; returns the port."""
        server, _thread = start_http_server(0, addr="127.0.0.1", registry=self.registry)
        return int(server.server_port)
