"""Tasks find their adapters: by weight, by key, by metadata; the routes outlive the server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from adapterhub_server.route_table import RouteTable
from adapterhub_server.routes import Route, Target, pick
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.client import Route as ClientRoute
from adapterhub.client import RouteRule, RouteTarget
from adapterhub.errors import AdapterNotFoundError, ConfigError, ConflictError, InvalidInputError, NotFoundError
from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving")) as running:
        running.publish("stable")
        running.publish("canary", "bottleneck")
        yield running


def route(task: str = "support", **fields: object) -> Route:
    return Route.load({"task": task, "targets": [{"adapter": "stable"}], **fields}, where="test")


def test_shares_follow_the_weights() -> None:
    targets = [Target(adapter="stable", weight=95), Target(adapter="canary", weight=5), Target(adapter="off", weight=0)]
    found = Counter(pick(targets, str(seed)).adapter for seed in range(4000))
    assert found.keys() == {"stable", "canary"}
    assert 140 <= found["canary"] <= 260  # 200, and four standard deviations to both sides


def test_a_weight_that_changes_moves_only_what_it_wins() -> None:
    before = [Target(adapter="a", weight=50), Target(adapter="b", weight=50)]
    after = [*before, Target(adapter="c", weight=25)]
    moved = [(pick(before, str(seed)).adapter, pick(after, str(seed)).adapter) for seed in range(2000)]
    assert {new for old, new in moved if old != new} == {"c"}


def test_a_key_keeps_its_target_and_requests_without_one_are_spread(server: Serving) -> None:
    targets = (RouteTarget("stable", 1), RouteTarget("canary", 1))
    server.client.set_route(ClientRoute("spread", targets))

    def chosen(key: str = "") -> str:
        return server.client.generate("hello", task="spread", route_key=key, max_new_tokens=1).adapter

    assert len({chosen("user-7") for _ in range(6)}) == 1
    assert {chosen(f"user-{number}") for number in range(16)} == {"stable", "canary"}
    assert {chosen() for _ in range(24)} == {"stable", "canary"}


def test_a_rule_on_metadata_decides_before_the_targets(server: Serving) -> None:
    rule = RouteRule("beta", {"x-plan": "beta"}, (RouteTarget("canary"),))
    server.client.set_route(ClientRoute("ruled", (RouteTarget("stable"),), (rule,)))
    request = inference_pb2.GenerateRequest(text="hello", task="ruled", sampling={"max_new_tokens": 1})
    with grpc.insecure_channel(server.address) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)  # type: ignore[no-untyped-call]
        beta = stub.Generate(request, metadata=[("x-plan", "beta")])
        other = stub.Generate(request, metadata=[("x-plan", "free")])
    assert (beta.adapter, beta.route.by, beta.route.name) == ("canary", "rule", "beta")
    assert (other.adapter, other.route.by, other.route.name) == ("stable", "task", "ruled")


def test_an_adapter_that_is_not_there_is_an_error_or_the_base_and_the_answer_says_so(server: Serving) -> None:
    gone = (RouteTarget("gone"),)
    server.client.set_route(ClientRoute("strict", gone))
    server.client.set_route(ClientRoute("lenient", gone, fallback="base"))
    with pytest.raises(AdapterNotFoundError, match="gone"):
        server.client.generate("hello", task="strict")
    answer = server.client.generate("hello", task="lenient", max_new_tokens=1)
    assert (answer.adapter, answer.adapter_digest, answer.route.by) == ("", "", "fallback")


def test_routes_are_listed_replaced_and_deleted_at_run_time(server: Serving) -> None:
    first, second = ClientRoute("moved", (RouteTarget("stable"),)), ClientRoute("moved", (RouteTarget(""),))
    server.client.set_route(first)
    assert first in server.client.routes()
    server.client.set_route(second)
    assert server.client.generate("hello", task="moved", max_new_tokens=1).route == ("task", "moved", "")
    server.client.delete_route("moved")
    with pytest.raises(NotFoundError, match="no route for task 'moved'"):
        server.client.generate("hello", task="moved")
    with pytest.raises(NotFoundError):
        server.client.delete_route("moved")


def test_routes_outlive_the_server_and_another_server_sees_a_change(tmp_path: Path) -> None:
    one, other = RouteTable(tmp_path / "routes.json"), RouteTable(tmp_path / "routes.json")
    one.set(route())
    assert other.get("support") == RouteTable(tmp_path / "routes.json").get("support") == route()
    other.delete("support")
    assert one.all() == []


def test_a_change_against_an_older_state_is_refused(tmp_path: Path) -> None:
    table = RouteTable(tmp_path / "routes.json")
    etag = table.set(route())
    assert table.set(route("other"), etag=etag) != etag
    with pytest.raises(ConflictError, match="have changed"):
        table.delete("support", etag=etag)
    assert [kept.task for kept in table.all()] == ["other", "support"]


def test_a_broken_file_is_an_error_at_start_and_later_leaves_the_routes_as_they_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "routes.json"
    table = RouteTable(path)
    table.set(route())
    path.write_text("{")
    assert table.get("support") == route()
    assert "what routes.json said before stays" in caplog.text
    with pytest.raises(ConfigError, match="not JSON"):
        RouteTable(path)
    path.write_text(json.dumps({"routes": [{"task": "UPPER", "targets": [{}]}]}))
    with pytest.raises(ConfigError, match=r"routes\.0\.task"):
        RouteTable(path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"task": ""}, "task"),
        ({"targets": []}, "targets"),
        ({"targets": [{"weight": 0}]}, "all weights are 0"),
        ({"targets": [{"adapter": "../x"}]}, "not an adapter reference"),
        ({"fallback": 7}, "fallback"),
        ({"rules": [{"name": "r", "metadata": {}, "targets": [{}]}]}, "metadata"),
        ({"rules": [{"name": "r", "metadata": {"authorization": "x"}, "targets": [{}]}]}, "secret"),
        ({"rules": [{"name": "r", "metadata": {"a": "x"}, "targets": [{}]}] * 2}, "two rules"),
    ],
)
def test_a_route_that_is_not_accepted_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        Route.load({"task": "support", "targets": [{}], **fields}, where="test")
