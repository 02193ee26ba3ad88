"""GET /metrics: HAProxy's own counters under the models' names. Nothing is counted in Python for a request that goes straight through.

Columns of `show stat`: https://docs.haproxy.org/2.8/management.html#9.1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from matrix_runtime.gateway.slots import GRPC_SUFFIX
from matrix_runtime.gateway.waiting import WaitingRoom

Row = Mapping[str, str]
FRONTEND, BACKEND = "0", "1"
CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_LABELS = ("model", "protocol")

_COUNTERS = {
    "retries": (("wretr",), "Further tries before the first byte, on the same or another replica."),
    "redispatches": (("wredis",), "Tries that went to another replica."),
    "aborted_by_client": (("cli_abrt",), "Requests whose client left before the end."),
    "broken_by_replica": (("srv_abrt", "eresp"), "Answers that a replica broke off, or did not begin."),
    "received_bytes": (("bin",), "From clients."),
    "sent_bytes": (("bout",), "To clients."),
}
_GAUGES = {
    "in_flight": ("scur", 1.0, "Requests that are being answered."),
    "first_byte_seconds": ("rtime", 0.001, "From the request to the first byte of the answer: mean of the last 1,024."),
    "total_seconds": ("ttime", 0.001, "From the request to the end of the answer: mean of the last 1,024."),
    "queue_seconds": ("qtime", 0.001, "In HAProxy's queue: mean of the last 1,024."),
    "replicas": ("act", 1.0, "Replicas that get requests."),
}


class Collector:
    """One scrape."""

    def __init__(self, rows: Iterable[Row], models: Mapping[str, str], room: WaitingRoom) -> None:
        """`models`: backend -> model."""
        rows = list(rows)
        self._front = next((row for row in rows if row["type"] == FRONTEND and row["pxname"] == "openai"), None)
        self._backends = [(_labels(row, models), row) for row in rows if row["type"] == BACKEND and _slot(row) in models]
        self._models = sorted(set(models.values()))
        self._room = room

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        yield self._requests()
        for name, (columns, text) in _COUNTERS.items():
            counter = CounterMetricFamily(f"matrix_gateway_{name}", text, labels=_LABELS)
            for labels, row in self._backends:
                counter.add_metric(labels, sum(_number(row[column]) for column in columns))
            yield counter
        for name, (column, unit, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"matrix_gateway_{name}", text, labels=_LABELS)
            for labels, row in self._backends:
                gauge.add_metric(labels, _number(row[column]) * unit)
            yield gauge
        yield from self._waiting()
        yield from self._whole()

    def _requests(self) -> Metric:
        counter = CounterMetricFamily("matrix_gateway_requests", "Answers, by class of HTTP status.", labels=(*_LABELS, "code"))
        for labels, row in self._backends:
            for code in CODES:
                counter.add_metric((*labels, code), _number(row[f"hrsp_{code}"]))
        return counter

    def _waiting(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("matrix_gateway_waiting", "Requests that wait for a first replica.", labels=("model",))
        seconds = CounterMetricFamily("matrix_gateway_waited_seconds", "All the time that requests have waited so.", labels=("model",))
        for model in self._models:
            waiting.add_metric((model,), self._room.count(model))
            seconds.add_metric((model,), self._room.waited_seconds.get(model, 0.0))
        yield from (waiting, seconds)

    def _whole(self) -> Iterator[Metric]:
        """Of the port, whatever the model: refusals are only in here."""
        if self._front is None:
            return
        answers = CounterMetricFamily("matrix_gateway_answers", "All answers of the port, refusals too, by class.", labels=("code",))
        for code in CODES:
            answers.add_metric((code,), _number(self._front[f"hrsp_{code}"]))
        yield answers
        yield GaugeMetricFamily("matrix_gateway_connections", "Open connections of clients.", value=_number(self._front["scur"]))


def text(rows: Iterable[Row], models: Mapping[str, str], room: WaitingRoom) -> bytes:
    """Prometheus' text format."""
    registry = CollectorRegistry()
    collector: Any = Collector(rows, models, room)
    registry.register(collector)
    return generate_latest(registry)


def _slot(row: Row) -> str:
    return row["pxname"].removesuffix(GRPC_SUFFIX)


def _labels(row: Row, models: Mapping[str, str]) -> tuple[str, str]:
    return models[_slot(row)], "grpc" if row["pxname"].endswith(GRPC_SUFFIX) else "http"


def _number(value: str) -> float:
    return float(value or 0)
