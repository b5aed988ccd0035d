"""The log has one line a call, under the id that the client knows, and never what was said."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from adapterhub_server.access import Access
from adapterhub_server.keys import Keys
from adapterhub_server.logs import JsonFormatter, TextFormatter
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.client import Client
from adapterhub.errors import AuthError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2

PROMPT = "a prompt that no log tells"
GENERATE = "/adapterhub.v1.Inference/Generate"
SAMPLING = inference_pb2.Sampling(max_new_tokens=2)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def server(tiny_base: Path, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), access=Access(keys)) as running:
        yield running


@pytest.fixture(scope="module")
def key(keys: Keys) -> str:
    return keys.create("logged", tenant="shop", scopes=["infer", "manage"], adapters=["*"])


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="adapterhub_server")


def lines(caplog: pytest.LogCaptureFixture, rpc: str) -> list[dict[str, Any]]:
    """What the JSON log has of a method's calls."""
    told = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    return [line for line in told if line.get("rpc") == rpc]


def trailing(server: Serving, key: str, request_id: str, request: bytes, path: str = GENERATE) -> dict[str, Any]:
    """The trailing metadata of a call that may fail, made under an id."""
    metadata = (("authorization", f"Bearer {key}"), ("x-request-id", request_id))
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_stream(path, bytes, bytes)(request, metadata=metadata)
        with suppress(grpc.RpcError):
            list(call)
        return dict(call.trailing_metadata())


def test_a_generation_is_one_line(server: Serving, key: str, caplog: pytest.LogCaptureFixture) -> None:
    ref = server.publish("orders", "bottleneck")
    with Client(server.address, api_key=key) as client:
        answer = client.generate(PROMPT, adapter="orders", max_new_tokens=3, ignore_eos=True)
    [line] = lines(caplog, "Inference/Generate")
    assert line["message"] == "Inference/Generate length"
    assert (line["level"], line["status"], line["outcome"]) == ("info", "OK", "length")
    assert (line["key"], line["tenant"]) == (key.split("_")[1], "shop")
    assert (line["adapter"], line["digest"], line["method"]) == ("orders:latest", ref.digest, "bottleneck")
    assert (line["route_by"], line["generated_tokens"]) == ("adapter", 3)
    assert line["prompt_tokens"] == answer.usage.prompt_tokens
    assert line["total"] >= line["before_engine"] + line["first_token"] > 0


def test_whoever_is_turned_away_is_a_line_too(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with Client(server.address, api_key="ahk_000000000000_" + "A" * 43) as client, pytest.raises(AuthError):
        client.info()
    [line] = lines(caplog, "Server/Info")
    assert (line["status"], line["outcome"], line["peer"]) == ("UNAUTHENTICATED", "NOT_ALLOWED", "ipv4:127.0.0.1")
    assert "key" not in line


def test_what_manages_an_adapter_names_it(server: Serving, key: str, caplog: pytest.LogCaptureFixture) -> None:
    server.publish("managed")
    with Client(server.address, api_key=key) as client:
        client.load("managed")
    assert [line["adapter"] for line in lines(caplog, "Adapters/Load")] == ["managed:latest"]


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
@pytest.mark.parametrize("adapter", ["", "nobody"])
def test_the_clients_id_comes_back_whatever_becomes_of_the_call(
    server: Serving, key: str, caplog: pytest.LogCaptureFixture, method: str, adapter: str
) -> None:
    request = inference_pb2.GenerateRequest(text=PROMPT, adapter=adapter, sampling=SAMPLING)
    path = f"/adapterhub.v1.Inference/{method}"
    assert trailing(server, key, "mine-1:a/b", request.SerializeToString(), path)["x-request-id"] == "mine-1:a/b"
    [line] = lines(caplog, f"Inference/{method}")
    assert (line["request_id"], line["status"]) == ("mine-1:a/b", "NOT_FOUND" if adapter else "OK")


@pytest.mark.parametrize("request_id", ["a b", "x" * 129, '"},{"', "a=1 status=OK"])
def test_an_id_that_is_no_plain_token_is_replaced(server: Serving, key: str, request_id: str) -> None:
    request = inference_pb2.GenerateRequest(text=PROMPT, sampling=SAMPLING)
    told = trailing(server, key, request_id, request.SerializeToString())["x-request-id"]
    assert len(told) == 32
    assert told != request_id


def test_no_line_tells_what_was_said_or_a_key(server: Serving, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with Client(server.address, api_key=key) as client:
        answer = client.generate(PROMPT, kind="raw", max_new_tokens=40, ignore_eos=True).text.strip()
        with pytest.raises(InvalidInputError):
            client.generate(PROMPT, stop=[PROMPT, ""])
        with pytest.raises(InvalidInputError):
            client.generate(PROMPT, adapter=PROMPT)
    text = "".join(form.format(record) for form in (JsonFormatter(), TextFormatter()) for record in caplog.records)
    assert len(lines(caplog, "Inference/Generate")) == 3
    for secret in (PROMPT, answer, key.split("_", 2)[2]):
        assert secret not in text


def test_a_text_line_has_the_same_fields_behind_its_message(
    server: Serving, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(server.address, api_key=key) as client:
        client.info()
    line = TextFormatter().format(caplog.records[-1])
    [told] = lines(caplog, "Server/Info")
    assert f"INFO adapterhub_server.logs: Server/Info ok request_id={told['request_id']} rpc=Server/Info" in line
    assert "\n" not in line


def test_an_adapters_own_words_begin_no_line_of_their_own() -> None:
    record = logging.makeLogRecord({"msg": "ok", "call": {"method": "lora\n2026 ERROR forged\x1b[2J"}})
    for form in (TextFormatter(), JsonFormatter()):
        line = form.format(record)
        assert "\n" not in line
        assert "\x1b" not in line


def test_an_error_in_json_is_one_line_with_its_traceback() -> None:
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        record = logging.makeLogRecord({"msg": "failed", "levelname": "ERROR", "exc_info": sys.exc_info()})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ZeroDivisionError: oops")
