"""What vLLM's engine tells of each step: passed on to the replica's metrics, and kept as its load. Written for vLLM 0.32."""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from matrix_proto.state import Load
from matrix_runtime.engines.port import TokenMeter


class VllmStats:
    """`logger` is a factory of vLLM's stat loggers; each step of each engine core comes to it, on the event loop."""

    def __init__(self, meter: TokenMeter) -> None:
        self._meter = meter
        self._waiting: dict[int, int] = {}
        self._cache: dict[int, float] = {}

    def busy(self) -> Load:
        """See the port."""
        return Load(waiting=sum(self._waiting.values()), cache_use=round(max(self._cache.values(), default=0.0), 3))

    def logger(self, vllm_config: Any, engine_index: int = 0) -> StatLoggerBase:
        """For AsyncLLM's `stat_loggers`."""
        return _Logger(self, vllm_config, engine_index)

    def record(self, scheduler: Any, iteration: Any, engine_index: int) -> None:
        """One step: vLLM's SchedulerStats and IterationStats; either may be None."""
        if scheduler is not None:
            self._waiting[engine_index] = scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs
            self._cache[engine_index] = scheduler.kv_cache_usage
        if iteration is not None:
            for seconds in iteration.time_to_first_tokens_iter:
                self._meter.first_token(seconds)
            for seconds in iteration.inter_token_latencies_iter:
                self._meter.inter_token(seconds)
            self._meter.tokens(iteration.num_prompt_tokens, iteration.num_generation_tokens)


class _Logger(StatLoggerBase):  # type: ignore[misc]
    """One engine core's."""

    def __init__(self, stats: VllmStats, vllm_config: Any, engine_index: int = 0) -> None:
        self._stats = stats
        self._index = engine_index

    def record(self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0) -> None:
        self._stats.record(scheduler_stats, iteration_stats, self._index)

    def log_engine_initialized(self) -> None:
        """Nothing to say."""
