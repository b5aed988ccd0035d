"""What gateways that route by LoRA adapters read, under the names they know from vLLM. Any thread.

Source: the model server protocol of the Gateway API Inference Extension, which reads the adapters' names split at
commas, and of the series of `vllm:lora_requests_info` the one with the latest time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adapterhub.engine import AdapterStatus, Engine
from adapterhub_server.labels import MAX_NAMES, short


class GatewayCollector(Collector):
    """Says how busy an engine is, and which adapters it has at hand, of whatever methods they are."""

    def __init__(self, engine: Engine, names: Callable[[], Mapping[str, str]]) -> None:
        self._engine = engine
        self._names = names

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        used = 1 - stats.kv_tokens_free / stats.kv_tokens_total
        yield self._gauge("vllm:num_requests_running", "As adapterhub_running_requests.", stats.running)
        yield self._gauge(
            "vllm:num_requests_waiting",
            "adapterhub_waiting_requests and adapterhub_loading_requests together.",
            stats.waiting + stats.loading,
        )
        yield self._gauge("vllm:kv_cache_usage_perc", "Share of the keys' and values' room that is taken.", used)
        yield self._gauge("vllm:gpu_cache_usage_perc", "The same, by its name before.", used)
        yield self._lora_requests(self._engine.adapters())

    def _gauge(self, name: str, told: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(name, told, labels=("model_name",))
        gauge.add_metric((self._engine.base.record.id,), value)
        return gauge

    def _lora_requests(self, statuses: list[AdapterStatus]) -> Metric:
        gauge = GaugeMetricFamily(
            "vllm:lora_requests_info",
            "The time, with the names of the adapters that are resident and those on their way.",
            labels=("max_lora", "running_lora_adapters", "waiting_lora_adapters"),
        )
        resident = {status.digest for status in statuses if status.tier == "resident"}
        coming = {status.digest for status in statuses if status.tier in ("loading", "queued")}
        gauge.add_metric((str(self._max_adapters(statuses)), self._list(resident), self._list(coming)), time.time())
        return gauge

    def _max_adapters(self, statuses: list[AdapterStatus]) -> int:
        """How many adapters like the known ones fit; before any is known, as many as run in one step."""
        nbytes = sum(status.nbytes for status in statuses)
        limits = self._engine.limits
        return max(1, limits.adapter_bytes * len(statuses) // nbytes) if nbytes else limits.max_sequences

    def _list(self, digests: set[str]) -> str:
        names = sorted(short(name) for name, digest in self._names().items() if digest in digests)
        return ",".join(names[:MAX_NAMES])
