"""The replica's own metrics, the same ones for every engine. The only module of the runtime that knows prometheus_client.

Counted in plain numbers on the event loop, and put into Prometheus' form only when they are read: an observation costs well under a
microsecond. What they mean is in docs/metrics.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from matrix_runtime.ongoing import Request

FIRST_TOKEN_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
INTER_TOKEN_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
"""Seconds. As vLLM's own histograms of the same things, with finer steps at the fast end."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of seconds by bucket."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Adds a value, so many times."""
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus has them."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets

    @property
    def sum(self) -> float:
        """Of all values."""
        return self._sum


class Meter(Collector):
    """What a replica has done. Fits the port `TokenMeter`, and what `Ongoing` tells."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._requests = Counter[tuple[str, str, str]]()
        self._in_flight = Counter[tuple[str, str]]()
        self._retries = Counter[tuple[str, str]]()
        self._prompt = self._completion = 0
        self._first_token = Histogram(FIRST_TOKEN_BUCKETS)
        self._inter_token = Histogram(INTER_TOKEN_BUCKETS)

    def begun(self, request: Request) -> None:
        """A request is in flight."""
        self._in_flight[request.api, request.transport] += 1

    def ended(self, request: Request) -> None:
        """It is not any more."""
        self._in_flight[request.api, request.transport] -= 1
        self._requests[request.api, request.transport, request.code] += 1

    def refused(self, api: str, transport: str, code: str) -> None:
        """A request that was never in flight."""
        self._requests[api, transport, code] += 1

    def retried(self, api: str, transport: str) -> None:
        """A request that is not its caller's first try."""
        self._retries[api, transport] += 1

    def first_token(self, seconds: float) -> None:
        """See TokenMeter."""
        self._first_token.observe(seconds)

    def inter_token(self, seconds: float, times: int = 1) -> None:
        """See TokenMeter."""
        self._inter_token.observe(seconds, times)

    def tokens(self, prompt: int, completion: int) -> None:
        """See TokenMeter."""
        self._prompt += prompt
        self._completion += completion

    def collect(self) -> Iterator[Metric]:
        """For a registry."""
        requests = CounterMetricFamily(
            "matrix_requests", "Requests that were answered, or given up.", labels=("model", "api", "transport", "code")
        )
        for key, count in self._requests.items():
            requests.add_metric((self._model, *key), count)
        in_flight = GaugeMetricFamily("matrix_requests_in_flight", "Requests not answered yet.", labels=("model", "api", "transport"))
        for pair, count in self._in_flight.items():
            in_flight.add_metric((self._model, *pair), count)
        retries = CounterMetricFamily(
            "matrix_retries", "Requests that were not their caller's first try.", labels=("model", "api", "transport")
        )
        for pair, count in self._retries.items():
            retries.add_metric((self._model, *pair), count)
        tokens = CounterMetricFamily("matrix_tokens", "Tokens read (prompt) and written (completion).", labels=("model", "kind"))
        tokens.add_metric((self._model, "prompt"), self._prompt)
        tokens.add_metric((self._model, "completion"), self._completion)
        yield from (requests, in_flight, retries, tokens)
        yield self._histogram("matrix_time_to_first_token_seconds", "From a request's arrival to its first token.", self._first_token)
        yield self._histogram("matrix_inter_token_seconds", "Between two tokens of an answer.", self._inter_token)

    def _histogram(self, name: str, help: str, values: Histogram) -> Metric:
        family = HistogramMetricFamily(name, help, labels=("model",))
        family.add_metric((self._model,), values.buckets(), values.sum)
        return family


def page(meter: Meter) -> bytes:
    """All metrics of this process, in Prometheus' text format: ours, and what the engine has in the process' own registry."""
    ours = CollectorRegistry(auto_describe=False)
    ours.register(meter)
    return generate_latest(ours) + generate_latest(REGISTRY)
