"""The engine's counters and gauges, read when Prometheus asks. Any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from adapterhub import __version__
from adapterhub.client.statuses import row_of
from adapterhub.engine import AdapterStatus, Engine, Tier
from adapterhub_server.labels import OTHER, Labels, known

COUNTERS = {
    "steps": ("adapterhub_steps", "Steps computed."),
    "mixed_adapter_steps": (
        "adapterhub_mixed_adapter_steps",
        "Steps in which rows of more than one adapter ran together.",
    ),
    "mixed_method_steps": (
        "adapterhub_mixed_method_steps",
        "Steps in which rows of more than one method ran together.",
    ),
    "prompt_tokens": (
        "adapterhub_engine_prompt_tokens",
        "Positions prefilled, virtual tokens and what preemption repeats included.",
    ),
    "generated_tokens": ("adapterhub_engine_generated_tokens", "Tokens sampled."),
    "preemptions": (
        "adapterhub_preemptions",
        "Times a running generation gave its blocks back and was put off.",
    ),
    "looked_up_tokens": (
        "adapterhub_prefix_cache_looked_up_tokens",
        "Positions looked up in the prefix cache.",
    ),
    "reused_tokens": ("adapterhub_prefix_cache_reused_tokens", "Those of them that were found."),
    "evictions": ("adapterhub_adapter_evictions", "Times an adapter made room for another."),
}
GAUGES = {
    "running": ("adapterhub_running_requests", "Generations in the engine's steps."),
    "waiting": ("adapterhub_waiting_requests", "Generations that wait for a place in a step."),
    "loading": ("adapterhub_loading_requests", "Generations that wait for their adapter."),
    "kv_tokens_total": ("adapterhub_kv_tokens", "Room for keys and values, in tokens."),
}
"""Fields of EngineStats -> names and what they are."""


class EngineCollector(Collector):
    """Says what an engine holds and has done."""

    def __init__(self, engine: Engine, names: Callable[[], Mapping[str, str]], labels: Labels) -> None:
        self._engine = engine
        self._names = names
        self._labels = labels

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        for field, (name, told) in COUNTERS.items():
            yield CounterMetricFamily(name, told, value=getattr(stats, field))
        for field, (name, told) in GAUGES.items():
            yield GaugeMetricFamily(name, told, value=getattr(stats, field))
        used = stats.kv_tokens_total - stats.kv_tokens_free
        yield GaugeMetricFamily("adapterhub_kv_tokens_used", "Those of them that are taken.", value=used)
        yield GaugeMetricFamily(
            "adapterhub_engine_alive", "1 while the engine's thread runs.", value=self._engine.alive
        )
        yield self._info()
        yield from self._outcomes()
        yield from self._adapters(self._engine.adapters())

    def _info(self) -> Metric:
        base = self._engine.base
        info = GaugeMetricFamily(
            "adapterhub_server_info",
            "1, with what the server is.",
            labels=("version", "base", "base_digest", "quantization"),
        )
        info.add_metric((__version__, base.record.id, base.record.digest, base.quantization), 1)
        return info

    def _outcomes(self) -> Iterator[Metric]:
        loads = CounterMetricFamily(
            "adapterhub_adapter_loads", "Loads of adapters that ended: ok, or an error's reason.", labels=("result",)
        )
        results: Counter[str] = Counter()
        for error, count in self._engine.tally.loads().items():
            results["ok" if error is None else row_of(error).reason] += count
        for result, count in results.items():
            loads.add_metric((result,), count)
        yield loads
        raised = CounterMetricFamily(
            "adapterhub_plugin_errors", "Loads and generations that ended as a method raised.", labels=("method",)
        )
        methods: Counter[str] = Counter()
        for method, count in self._engine.tally.plugin_errors().items():
            methods[known(method, self._engine.methods)] += count
        for method, count in methods.items():
            raised.add_metric((method,), count)
        yield raised

    def _adapters(self, statuses: list[AdapterStatus]) -> Iterator[Metric]:
        tiers = GaugeMetricFamily("adapterhub_adapters", "Known adapters, by where they are.", labels=("tier",))
        counts: Counter[str] = Counter(status.tier for status in statuses)
        for tier in get_args(Tier):
            tiers.add_metric((tier,), counts[tier])
        yield tiers
        resident = sum(status.nbytes for status in statuses if status.tier == "resident")
        yield GaugeMetricFamily("adapterhub_resident_adapter_bytes", "Bytes of resident adapters.", value=resident)
        yield GaugeMetricFamily(
            "adapterhub_adapter_bytes_limit", "Room for resident adapters.", value=self._engine.limits.adapter_bytes
        )
        running = GaugeMetricFamily(
            "adapterhub_adapter_running_requests",
            "Generations that hold an adapter, by the first of its names.",
            labels=("adapter", "method"),
        )
        for labels, count in self._running(statuses).items():
            running.add_metric(labels, count)
        yield running

    def _running(self, statuses: list[AdapterStatus]) -> Counter[tuple[str, str]]:
        names = {digest: name for name, digest in sorted(self._names().items(), reverse=True)}
        counts: Counter[tuple[str, str]] = Counter()
        for status in statuses:
            name = names.get(status.digest)
            adapter = self._labels.adapter(name) if name else OTHER
            counts[adapter, known(status.method, self._engine.methods)] += status.running
        return counts
