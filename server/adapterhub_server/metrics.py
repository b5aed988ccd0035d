"""What Prometheus is told: counted as calls end, or read off the engine when it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from adapterhub.engine import BLEND, Engine
from adapterhub_server.call import Call
from adapterhub_server.engine_collector import EngineCollector
from adapterhub_server.gateway_collector import GatewayCollector
from adapterhub_server.labels import OTHER, Labels, known

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
ANSWERED = ("adapter", "method")
"""The labels of what a generation took; both are empty for the bare base."""


class Metrics:
    """Owns one server's registry. Its counts are made on the event loop and read by any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels = Labels()
        self._methods: tuple[str, ...] = ()
        self._requests = Counter(
            "adapterhub_requests",
            "Calls that ended, by why: ok, a finish reason, or an error's reason.",
            ("rpc", "adapter", "outcome"),
            registry=self.registry,
        )
        self._prompt_tokens = Counter(
            "adapterhub_prompt_tokens",
            "Tokens of the prompts of generations that began, counted at their end.",
            ANSWERED,
            registry=self.registry,
        )
        self._generated_tokens = Counter(
            "adapterhub_generated_tokens",
            "Tokens sent to clients, counted at a generation's end, however it ended.",
            ANSWERED,
            registry=self.registry,
        )
        self._before_engine = self._histogram(
            "adapterhub_before_engine_seconds",
            "From a generation's arrival until it was given to the engine: resolving, checking, tokenizing.",
        )
        self._first_token = self._histogram(
            "adapterhub_time_to_first_token_seconds",
            "From a generation's arrival to its first token.",
        )
        self._inter_token = self._histogram(
            "adapterhub_inter_token_seconds",
            "Between a token and the one before; tokens sent in one message share its time evenly.",
            TOKEN_SECONDS,
        )
        self._total = self._histogram(
            "adapterhub_generation_seconds",
            "From a generation's arrival to its end, where it ended by itself.",
        )

    def watch(self, engine: Engine, names: Callable[[], Mapping[str, str]]) -> None:
        """Read an engine from now on; `names` gives digests by `name:tag`, on any thread."""
        self._methods = engine.methods
        self.registry.register(EngineCollector(engine, names, self._labels))
        self.registry.register(GatewayCollector(engine, names))

    def piece(self, call: Call, tokens: int, seconds: float | None) -> None:
        """A piece with so many tokens came so long after the one before; None for the first."""
        if seconds is not None and tokens:
            inter_token = self._inter_token.labels(*self._answered(call))
            for _ in range(tokens):
                inter_token.observe(seconds / tokens)

    def ended(self, call: Call) -> None:
        """A call has ended."""
        adapter, method = self._answered(call)
        self._requests.labels(call.rpc, adapter, call.outcome).inc()
        watch = call.watch
        if watch.given is not None:
            self._before_engine.labels(adapter, method).observe(watch.given - watch.arrived)
        if watch.first is not None and watch.last is not None:
            self._prompt_tokens.labels(adapter, method).inc(call.prompt_tokens)
            self._generated_tokens.labels(adapter, method).inc(call.generated_tokens)
            self._first_token.labels(adapter, method).observe(watch.first - watch.arrived)
            if call.status == "OK":
                self._total.labels(adapter, method).observe(watch.last - watch.arrived)

    def _answered(self, call: Call) -> tuple[str, str]:
        """Labels of a call; an adapter that was not found has none, so that clients cannot make up names."""
        if call.method == BLEND:
            return OTHER, BLEND
        return self._labels.adapter(call.adapter if call.digest else ""), known(call.method, self._methods)

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(name, told, ANSWERED, buckets=buckets, registry=self.registry)
