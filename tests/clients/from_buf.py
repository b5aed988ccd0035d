"""buf: the protos by its rules, and a server by its curl, which knows it by reflection alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from running import GREEDY, MODULES, PROTOS, Running, run_node, running

from adapterhub.client import Client

BUF = MODULES / "@bufbuild" / "buf" / "bin" / "buf"
CURL = ("curl", "--protocol", "grpc", "--http2-prior-knowledge")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("running")) as made:
        yield made


def messages(text: str) -> list[Any]:
    """JSON values one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def curl(server: Running, method: str, request: Any) -> list[Any]:
    url = f"http://{server.address}/adapterhub.v1.{method}"
    return messages(run_node(BUF, *CURL, "--data", json.dumps(request), url).stdout)


def test_the_protos_keep_bufs_rules() -> None:
    lint = run_node(BUF, "lint", str(PROTOS), check=False)
    assert (lint.returncode, lint.stdout) == (0, ""), lint.stderr


def test_curl_generates_as_the_python_client_does(server: Running) -> None:
    request = {"text": "naïve café, 東京", "adapter": "orders", "sampling": GREEDY}
    with Client(server.address) as client:
        expected = client.generate("naïve café, 東京", adapter="orders", **GREEDY)
    (whole,), pieces = curl(server, "Inference/Generate", request), curl(server, "Inference/GenerateStream", request)
    assert (whole["text"], tuple(whole["tokenIds"])) == (expected.text, expected.token_ids)
    assert "".join(piece.get("text", "") for piece in pieces) == expected.text
    assert whole["route"] == {"by": "adapter", "adapter": "orders"}


def test_curl_reads_the_server_and_loads_an_adapter(server: Running) -> None:
    (told,) = curl(server, "Server/Info", {})
    assert (told["quantization"], told["maxContext"]) == ("int8", 512)
    (loaded,) = curl(server, "Adapters/Load", {"adapter": "orders"})
    assert loaded["adapter"]["digest"] == server.digests["orders"]


def test_curl_shows_an_error_with_its_details(server: Running) -> None:
    url = f"http://{server.address}/adapterhub.v1.Inference/Generate"
    request = json.dumps({"text": "hello", "sampling": {"temperature": 11}})
    refused = run_node(BUF, *CURL, "--data", request, url, check=False)
    assert refused.returncode == grpc.StatusCode.INVALID_ARGUMENT.value[0] << 3
    assert json.loads(refused.stderr)["code"] == "invalid_argument"
    assert "temperature" in json.loads(refused.stderr)["message"]
