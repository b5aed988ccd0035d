"""What Prometheus and LoRA-aware gateways read, by a real scrape of a real server."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest
from adapterhub_server.call import Call
from adapterhub_server.labels import Labels
from adapterhub_server.metrics_endpoint import MetricsEndpoint
from conftest import save_random_adapter
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel, read_base
from adapterhub.errors import AdapterNotFoundError, BaseMismatchError, UnavailableError

PROMPT = "a prompt that no metric tells"
DOCS = Path(__file__).parent.parent / "docs" / "metrics.md"


class Scrape:
    """One reading of the endpoint."""

    def __init__(self, url: str) -> None:
        with urlopen(url) as answer:
            self.text = answer.read().decode()
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [sample.labels for sample in self._samples if sample.name == name]


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), adapter_bytes=10_000_000) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: Serving) -> Iterator[str]:
    with MetricsEndpoint("127.0.0.1", 0, server.metrics.registry) as endpoint:
        yield endpoint.url


def test_a_generation_is_counted_under_its_adapter_and_method(server: Serving, url: str) -> None:
    server.publish("orders", "bottleneck")
    answers = [server.client.generate(PROMPT, adapter="orders", max_new_tokens=8, ignore_eos=True) for _ in range(2)]
    list(server.client.generate_stream(PROMPT, adapter="orders", max_new_tokens=8, ignore_eos=True))
    read, orders = Scrape(url), {"adapter": "orders", "method": "bottleneck"}
    assert read.value("adapterhub_requests_total", rpc="Inference/Generate", adapter="orders", outcome="length") == 2
    assert read.value("adapterhub_requests_total", rpc="Inference/GenerateStream", adapter="orders") == 1
    assert read.value("adapterhub_generated_tokens_total", **orders) == 24
    assert read.value("adapterhub_prompt_tokens_total", **orders) == 3 * answers[0].usage.prompt_tokens
    for name in ("before_engine_seconds", "time_to_first_token_seconds", "generation_seconds"):
        assert read.value(f"adapterhub_{name}_count", **orders) == 3
    spent = read.value("adapterhub_time_to_first_token_seconds_sum", **orders)
    spent += read.value("adapterhub_inter_token_seconds_sum", **orders)
    assert spent == pytest.approx(read.value("adapterhub_generation_seconds_sum", **orders))


def test_every_token_but_those_of_the_first_piece_has_its_latency(server: Serving, url: str) -> None:
    before = Scrape(url).value("adapterhub_inter_token_seconds_count", adapter="")
    server.pace.seconds = 0.005
    pieces = list(server.client.generate_stream(PROMPT, max_new_tokens=20, ignore_eos=True))
    server.pace.seconds = 0.0
    later = 20 - len(pieces[0].token_ids)
    assert later > 0
    assert Scrape(url).value("adapterhub_inter_token_seconds_count", adapter="") - before == later


def test_an_adapter_nobody_has_makes_no_label(server: Serving, url: str) -> None:
    with pytest.raises(AdapterNotFoundError):
        server.client.generate(PROMPT, adapter="made-up")
    read = Scrape(url)
    assert read.value("adapterhub_requests_total", adapter="", outcome="ADAPTER_NOT_FOUND") == 1
    assert "made-up" not in read.text


def test_calls_that_do_not_end_by_themselves_are_counted(server: Serving, url: str) -> None:
    with server.cut_short(), pytest.raises(UnavailableError, match="in time"):
        server.client.generate(PROMPT, max_new_tokens=LONG, ignore_eos=True, timeout=0.3)
    with server.cut_short():
        running = server.client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)
        next(running)
        running.close()
    server.pace.seconds = 0.0
    server.wait_until(lambda: broken_off(Scrape(url), "Inference/Generate") == 1)
    server.wait_until(lambda: Scrape(url).value("adapterhub_requests_total", outcome="CANCELLED") >= 1)
    assert broken_off(Scrape(url), "Inference/GenerateStream") == 1


def broken_off(read: Scrape, rpc: str) -> float:
    outcomes = ("CANCELLED", "DEADLINE_EXCEEDED")
    return sum(read.value("adapterhub_requests_total", rpc=rpc, outcome=outcome) for outcome in outcomes)


@pytest.mark.parametrize(("remaining", "outcome"), [(None, "CANCELLED"), (5.0, "CANCELLED"), (0, "DEADLINE_EXCEEDED")])
def test_a_call_out_of_time_is_told_apart_from_one_broken_off(remaining: float | None, outcome: str) -> None:
    call = Call.begin("/adapterhub.v1.Inference/Generate", "", {})
    call.broken_off(remaining)
    assert call.outcome == outcome


def test_the_engines_own_figures_are_those_of_info(server: Serving, url: str) -> None:
    server.publish("told")
    server.client.generate(PROMPT, adapter="told", max_new_tokens=4)
    server.wait_idle()
    read, stats = Scrape(url), server.client.info().stats
    for name, value in (
        ("steps_total", stats.steps),
        ("mixed_adapter_steps_total", stats.mixed_adapter_steps),
        ("engine_prompt_tokens_total", stats.prompt_tokens),
        ("engine_generated_tokens_total", stats.generated_tokens),
        ("prefix_cache_looked_up_tokens_total", stats.looked_up_tokens),
        ("prefix_cache_reused_tokens_total", stats.reused_tokens),
        ("kv_tokens", stats.kv_tokens_total),
        ("kv_tokens_used", 0),
        ("running_requests", 0),
        ("engine_alive", 1),
    ):
        assert read.value(f"adapterhub_{name}") == value, name
    resident = [known for known in server.client.list() if known.state == "resident"]
    assert read.value("adapterhub_adapters", tier="resident") == len(resident) > 0
    assert read.value("adapterhub_resident_adapter_bytes") == sum(known.nbytes for known in resident)


def test_what_runs_is_told_while_it_runs(server: Serving, url: str) -> None:
    server.publish("busy", "bottleneck")
    server.pace.seconds = 0.01
    running = server.client.generate_stream(PROMPT, adapter="busy", max_new_tokens=LONG, ignore_eos=True)
    next(running)
    read = Scrape(url)
    running.close()
    server.pace.seconds = 0.0
    assert read.value("adapterhub_running_requests") == 1
    assert read.value("adapterhub_adapter_running_requests", adapter="busy", method="bottleneck") == 1
    assert read.value("adapterhub_kv_tokens_used") > 0
    assert 0 < read.value("vllm:kv_cache_usage_perc") < 1


def test_loads_are_counted_by_their_result(server: Serving, url: str, other_base: Path, tmp_path: Path) -> None:
    before = Scrape(url)
    server.publish("fits")
    server.client.generate(PROMPT, adapter="fits", max_new_tokens=1)
    _, shape = read_base(str(other_base))
    server.store.publish(save_random_adapter(tmp_path / "wide", "lora", shape), "wide")
    with pytest.raises(BaseMismatchError):
        server.client.generate(PROMPT, adapter="wide")
    after = Scrape(url)
    for result in ("ok", "BASE_MISMATCH"):
        name = "adapterhub_adapter_loads_total"
        assert after.value(name, result=result) - before.value(name, result=result) == 1


def test_gateways_find_the_adapters_at_hand_in_vllms_form(server: Serving, url: str) -> None:
    for name in ("near", "far"):
        server.publish(name)
        server.client.generate(PROMPT, adapter=name, max_new_tokens=1)
    read = Scrape(url)
    [labels] = read.labels("vllm:lora_requests_info")
    assert set(labels) == {"max_lora", "running_lora_adapters", "waiting_lora_adapters"}
    assert {"near", "far"} <= set(labels["running_lora_adapters"].split(","))
    assert int(labels["max_lora"]) >= len(labels["running_lora_adapters"].split(","))
    assert read.value("vllm:lora_requests_info") > 1.7e9
    assert read.labels("vllm:num_requests_waiting") == [{"model_name": server.engine.base.record.id}]


def test_no_metric_tells_a_prompt_or_an_answer(server: Serving, url: str) -> None:
    answer = server.client.generate(PROMPT, kind="raw", max_new_tokens=40, ignore_eos=True).text.strip()
    text = Scrape(url).text
    assert len(answer) > 8
    assert PROMPT not in text
    assert answer not in text


def test_what_is_there_is_documented_and_what_is_documented_is_there(server: Serving, url: str) -> None:
    server.client.generate(PROMPT, max_new_tokens=1)
    families = Scrape(url).families.values()
    found = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    found = {name for name in found if not name.endswith("_created")}
    assert found == set(re.findall(r"^\| `([a-z_:]+)` \|", DOCS.read_text(), flags=re.MULTILINE))


def test_names_beyond_the_first_are_counted_together() -> None:
    labels = Labels(max_names=2)
    told = [labels.adapter(name) for name in ("a:latest", "b:v1", "c:latest", "a:latest", "")]
    assert told == ["a", "b:v1", "other", "a", ""]


def test_methods_that_raised_are_counted_and_names_out_of_files_are_not_taken(server: Serving, url: str) -> None:
    for method in ("lora", "lora", "made-up"):
        server.engine.tally.plugin_error(method)
    read = Scrape(url)
    assert read.value("adapterhub_plugin_errors_total", method="lora") == 2
    assert read.value("adapterhub_plugin_errors_total", method="other") == 1


def test_a_port_in_use_is_told_with_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"port {port} in use on 127.0.0.1; choose .* --metrics-port"):
            MetricsEndpoint("127.0.0.1", port, CollectorRegistry())


def test_a_closed_endpoint_gives_its_port_back() -> None:
    with MetricsEndpoint("127.0.0.1", 0, CollectorRegistry()) as endpoint:
        port = int(endpoint.url.rpartition(":")[2].removesuffix("/metrics"))
    with MetricsEndpoint("127.0.0.1", port, CollectorRegistry()) as again:
        assert Scrape(again.url).text == ""
