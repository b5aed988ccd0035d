"""@grpc/grpc-js and the protos alone: what a program in node sees of a server."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapterhub_server.keys import Keys
from certificates import make_certificates
from running import GREEDY, HERE, PROTOS, Running, run_node, running

from adapterhub.client import Client

LONG = 400
"""New tokens of grpc_js.cjs's long generations."""
INCLUDED = [str(PROTOS), sysconfig.get_path("purelib")]
"""Ours, and google/rpc of PyPI's googleapis-common-protos."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("running")) as made:
        yield made


def ask(server: Running, scenario: str, **options: Any) -> Any:
    given = {"address": server.address, "protos": INCLUDED, **options}
    return json.loads(run_node(HERE / "grpc_js.cjs", json.dumps(given), scenario).stdout)


def test_it_gets_the_text_and_tokens_that_the_python_client_gets(server: Running) -> None:
    request: dict[str, Any] = {"text": "naïve café, 東京", "adapter": "orders", "sampling": GREEDY}
    got = ask(server, "generate", request=request)
    with Client(server.address) as client:
        expected = client.generate(request["text"], adapter="orders", **GREEDY)
        assert got["info"]["base_digest"] == client.info().base_digest
        assert tuple(got["tokens"]) == client.tokenize(request["text"], adapter="orders")
    assert (got["whole"]["text"], tuple(got["whole"]["token_ids"])) == (expected.text, expected.token_ids)
    assert "".join(piece["text"] for piece in got["pieces"]) == expected.text
    assert tuple(token for piece in got["pieces"] for token in piece["token_ids"]) == expected.token_ids
    assert got["pieces"][0]["adapter_digest"] == got["whole"]["adapter_digest"] == server.digests["orders"]
    assert got["pieces"][-1]["finish_reason"] == got["whole"]["finish_reason"] == "FINISH_REASON_LENGTH"


def test_it_watches_an_adapter_from_load_to_unload(server: Running) -> None:
    got = ask(server, "adapter", adapter="watched")
    assert got["loaded"]["digest"] == got["digest"] == server.digests["watched"]
    assert (server.digests["watched"], "lora") in [(known["digest"], known["method"]) for known in got["listed"]]
    assert "ADAPTER_STATE_RESIDENT" in got["states"]
    assert got["states"][-1] == "ADAPTER_STATE_UNLOADED"


def test_it_routes_a_task(server: Running) -> None:
    got = ask(server, "route", adapter="orders", task="buying")
    assert [route["task"] for route in got["routes"]] == ["buying"]
    assert got["answer"]["route"] == {"by": "task", "name": "buying", "adapter": "orders"}
    assert got["answer"]["adapter_digest"] == server.digests["orders"]


def test_it_reads_health_of_each_service(server: Running) -> None:
    not_found = 5
    assert ask(server, "health") == ["SERVING", "SERVING", not_found]


def test_it_decodes_the_details_of_errors_unary_and_in_a_stream_alike(server: Running) -> None:
    got = ask(server, "errors")
    for invalid, missing in (got["unary"], got["stream"]):
        assert invalid["code"] == "INVALID_ARGUMENT"
        assert invalid["details"]["google.rpc.ErrorInfo"]["domain"] == "adapterhub"
        (violation,) = invalid["details"]["google.rpc.BadRequest"]["field_violations"]
        assert violation["field"] == "sampling.temperature"
        assert missing["code"] == "NOT_FOUND"
        assert missing["details"]["google.rpc.ErrorInfo"]["reason"] == "ADAPTER_NOT_FOUND"
        assert missing["details"]["google.rpc.ResourceInfo"]["resource_name"] == "nowhere:latest"


@pytest.mark.parametrize(("scenario", "code"), [("deadline", "DEADLINE_EXCEEDED"), ("cancel", "CANCELLED")])
def test_its_deadline_or_its_leaving_ends_the_generation(server: Running, scenario: str, code: str) -> None:
    got = ask(server, scenario)
    assert got["ended"]["code"] == code
    assert got["generated"] < LONG


def test_by_tls_it_is_let_in_with_a_key_alone(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    keys = tmp_path / "keys.json"
    key = Keys(keys).create("node", tenant="shop", scopes=["infer"], adapters=["orders"])
    files = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))
    with running(tmp_path, *files, "--keys", str(keys)) as server:
        ca = str(tmp_path / "ca.pem")
        request = {"text": "hello", "adapter": "orders", "sampling": GREEDY}
        assert (
            ask(server, "generate", ca=ca, key=key, request=request)["whole"]["adapter_digest"]
            == server.digests["orders"]
        )
        assert ask(server, "refused", ca=ca)["code"] == "UNAUTHENTICATED"
        assert ask(server, "refused", key=key)["code"] == "UNAVAILABLE"
