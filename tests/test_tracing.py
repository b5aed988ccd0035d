"""Each call is a span where OpenTelemetry's variables ask for it, and nothing of it is imported where they do not."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from adapterhub_server.tracing import Tracing, tracing
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.errors import AdapterNotFoundError, ConfigError
from adapterhub.pb.v1 import inference_pb2

PROMPT = "a prompt that no span tells"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def server(tiny_base: Path, spans: InMemorySpanExporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traces = Tracing(provider)
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), observers=[traces.ended]) as running:
        yield running
    traces.close()


@pytest.fixture(autouse=True)
def _no_spans(spans: InMemorySpanExporter) -> None:
    spans.clear()


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def test_a_generation_is_a_span_with_its_halves_inside(server: Serving, spans: InMemorySpanExporter) -> None:
    ref = server.publish("traced")
    server.client.generate(PROMPT, adapter="traced", max_new_tokens=4, ignore_eos=True)
    found = by_name(spans)
    whole, admit, generate = (found[name] for name in ("Inference/Generate", "admit", "generate"))
    for half in (admit, generate):
        assert half.parent is not None
        assert half.parent.span_id == whole.context.span_id
    assert (whole.start_time, whole.end_time) == (admit.start_time, generate.end_time)
    assert admit.end_time == generate.start_time
    assert whole.attributes is not None
    assert (whole.attributes["adapterhub.digest"], whole.attributes["gen_ai.usage.output_tokens"]) == (ref.digest, 4)
    assert [event.name for event in whole.events] == ["first token"]
    assert PROMPT not in "".join(span.to_json() for span in found.values())


def test_a_call_that_fails_is_a_span_that_says_why(server: Serving, spans: InMemorySpanExporter) -> None:
    with pytest.raises(AdapterNotFoundError):
        server.client.generate(PROMPT, adapter="nobody")
    [span] = spans.get_finished_spans()
    assert (span.status.is_ok, span.status.description) == (False, "ADAPTER_NOT_FOUND")


def test_a_span_is_the_child_of_the_clients(server: Serving, spans: InMemorySpanExporter) -> None:
    request = inference_pb2.GenerateRequest(text=PROMPT, sampling=inference_pb2.Sampling(max_new_tokens=1))
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/adapterhub.v1.Inference/Generate", bytes, bytes)
        call(request.SerializeToString(), metadata=(("traceparent", f"00-{TRACE}-{SPAN}-01"),))
    span = by_name(spans)["Inference/Generate"]
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)


def test_a_collector_gets_the_spans_by_otlp(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[trace_service_pb2.ExportTraceServiceRequest] = []

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(  # noqa: N802  gRPC's name
            self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> trace_service_pb2.ExportTraceServiceResponse:
            got.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    collector = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), collector)  # type: ignore[no-untyped-call]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment=test")
    collector.start()
    traces = tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "set"})
    assert traces is not None
    with serving(BaseModel.load(str(tiny_base), quantization="none"), tmp_path, observers=[traces.ended]) as server:
        server.client.info()
    traces.close()
    collector.stop(0).wait()
    [sent] = [spans for request in got for spans in request.resource_spans]
    told = {each.key: each.value.string_value for each in sent.resource.attributes}
    assert (told["service.name"], told["deployment"]) == ("adapterhub", "test")
    assert [span.name for scope in sent.scope_spans for span in scope.spans] == ["Server/Info"]


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}],
    ids=["unset", "none", "disabled"],
)
def test_nothing_is_traced_or_imported_unless_it_is_asked_for(environ: dict[str, str]) -> None:
    check = (
        "import sys; from adapterhub_server.tracing import tracing; "
        f"assert tracing({environ}) is None; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_without_the_extra_the_server_says_what_is_missing_and_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.WARNING):
        assert tracing({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "OTEL_TRACES_EXPORTER is set" in caplog.text
    assert "adapterhub[tracing]" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]
)
def test_what_there_is_not_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: '{value}'"):
        tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "set", name: value})
