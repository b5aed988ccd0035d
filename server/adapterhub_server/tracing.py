"""A span for each call, sent by OpenTelemetry where its variables ask for it.

Nothing of OpenTelemetry is imported unless they do; the extra `tracing` brings it. The spans are made when a call has
ended, from the times that were taken on its way, so the path itself carries nothing of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapterhub.errors import ConfigError
from adapterhub_server.call import Call

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
DISABLED = "OTEL_SDK_DISABLED"
SERVICE = "adapterhub"


class Tracing:
    """Gives each call a span, the child of the client's if it sent one, with a child for each half of a generation."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._context = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()

    def ended(self, call: Call) -> None:
        """A call has ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        watch, clock, end = call.watch, time.time() - time.monotonic(), time.monotonic()
        arrived = _nanoseconds(watch.arrived, clock)
        parent = self._context.extract(call.parent)
        span = self._tracer.start_span(call.rpc, parent, SpanKind.SERVER, _attributes(call), start_time=arrived)
        if call.status != "OK":
            span.set_status(Status(StatusCode.ERROR, call.outcome))
        if watch.first is not None:
            span.add_event("first token", timestamp=_nanoseconds(watch.first, clock))
        if watch.given is not None:
            inside, given = set_span_in_context(span, parent), _nanoseconds(watch.given, clock)
            self._child("admit", inside, arrived, given)
            self._child("generate", inside, given, _nanoseconds(end, clock))
        span.end(_nanoseconds(end, clock))

    def _child(self, name: str, inside: Context, start: int, end: int) -> None:
        self._tracer.start_span(name, inside, start_time=start).end(end)


def tracing(environ: Mapping[str, str]) -> Tracing | None:
    """As OpenTelemetry's own variables ask; None when they ask for nothing, or the extra is not there, with a warning.

    Raises ConfigError naming the variable that asks for what there is not.
    """
    asked = next((name for name in (*ENDPOINTS, EXPORTER) if environ.get(name)), None)
    exporter = environ.get(EXPORTER) or "otlp"
    if asked is None or exporter == "none" or environ.get(DISABLED, "").lower() == "true":
        return None
    if exporter != "otlp":
        raise ConfigError(f"{EXPORTER}: {exporter!r} (accepted: otlp, none)", field=EXPORTER)
    protocol = next((name for name in PROTOCOLS if environ.get(name)), None)
    if protocol and environ[protocol] != "grpc":
        raise ConfigError(f"{protocol}: {environ[protocol]!r} (accepted: grpc)", field=protocol)
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but no trace is sent: it needs the extra, pip install 'adapterhub[tracing]'", asked)
        return None
    provider = TracerProvider(resource=Resource({SERVICE_NAME: SERVICE}).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _attributes(call: Call) -> dict[str, AttributeValue]:
    service, _, name = call.rpc.partition("/")
    told: dict[str, AttributeValue] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": name,
        "adapterhub.status": call.status,
        "adapterhub.outcome": call.outcome,
        "adapterhub.request_id": call.request_id,
        "adapterhub.tenant": call.tenant,
        "adapterhub.adapter": call.adapter,
        "adapterhub.digest": call.digest,
        "adapterhub.method": call.method,
        "adapterhub.route": call.route.by if call.route else "",
        "gen_ai.usage.input_tokens": call.prompt_tokens,
        "gen_ai.usage.output_tokens": call.generated_tokens,
    }
    return {name: value for name, value in told.items() if value}


def _nanoseconds(moment: float, clock: float) -> int:
    """A moment of the monotonic clock in nanoseconds since 1970; `clock` is how far that is off, in seconds."""
    return round((moment + clock) * 1e9)
