from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from matrix_runtime.ongoing import GRPC, HTTP, Request
from matrix_runtime.serving.meter import Histogram, Meter, page


def samples(meter: Meter) -> dict[tuple[str, str], float]:
    """By name and label values; the process' own metrics left out."""
    families = text_string_to_metric_families(page(meter).decode())
    return {
        (sample.name, "/".join(value for name, value in sorted(sample.labels.items()) if name != "model")): sample.value
        for family in families
        if family.name.startswith("matrix_")
        for sample in family.samples
    }


def test_what_was_done_reads_as_prometheus_has_it() -> None:
    meter = Meter("m")
    first, second = Request("chat", GRPC, None), Request("complete", HTTP, None)
    meter.begun(first)
    meter.begun(second)
    first.code = "OK"
    meter.ended(first)
    meter.refused("chat", "http", "503")
    meter.retried("chat", "http")
    meter.tokens(5, 7)
    meter.first_token(0.03)
    meter.inter_token(0.01, 6)
    meter.inter_token(100)
    seen = samples(meter)
    assert seen["matrix_requests_total", "chat/OK/grpc"] == 1 and seen["matrix_requests_total", "chat/503/http"] == 1
    assert seen["matrix_requests_in_flight", "chat/grpc"] == 0 and seen["matrix_requests_in_flight", "complete/http"] == 1
    assert seen["matrix_retries_total", "chat/http"] == 1
    assert (seen["matrix_tokens_total", "prompt"], seen["matrix_tokens_total", "completion"]) == (5, 7)
    assert seen["matrix_time_to_first_token_seconds_bucket", "0.02"] == 0
    assert seen["matrix_time_to_first_token_seconds_bucket", "0.04"] == 1
    assert seen["matrix_inter_token_seconds_bucket", "0.01"] == 6 == seen["matrix_inter_token_seconds_bucket", "10.0"]
    assert seen["matrix_inter_token_seconds_bucket", "+Inf"] == 7 == seen["matrix_inter_token_seconds_count", ""]
    assert abs(seen["matrix_inter_token_seconds_sum", ""] - 100.06) < 1e-9


def test_every_sample_has_the_model() -> None:
    meter = Meter("a/b")
    meter.tokens(1, 1)
    for family in text_string_to_metric_families(page(meter).decode()):
        if family.name.startswith("matrix_"):
            assert all(sample.labels["model"] == "a/b" for sample in family.samples)


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 1.0), ("2.0", 3.0), ("+Inf", 4.0)] and histogram.sum == 7.5
