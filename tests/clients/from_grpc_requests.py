"""grpc-requests: a Python client that knows a server by reflection alone."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import grpc_requests
import pytest
from adapterhub_server.service import NAMES
from running import GREEDY, Running, running

from adapterhub.client import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("running")) as made:
        yield made


def test_it_finds_every_service_and_method(server: Running) -> None:
    client = grpc_requests.Client.get_by_endpoint(server.address)
    assert {*NAMES, "grpc.health.v1.Health"} <= set(client.service_names)
    found = set(client.service("adapterhub.v1.Adapters").method_names)
    assert found == {"List", "Get", "Load", "Unload", "Pin", "Unpin", "Watch"}


def test_it_generates_as_the_python_client_does(server: Running) -> None:
    request = {"text": "naïve café, 東京", "adapter": "orders", "sampling": GREEDY}
    with Client(server.address) as client:
        expected = client.generate("naïve café, 東京", adapter="orders", **GREEDY)
    inference = grpc_requests.Client.get_by_endpoint(server.address).service("adapterhub.v1.Inference")
    whole, pieces = inference.Generate(request), list(inference.GenerateStream(request))
    assert (whole["text"], tuple(whole["token_ids"])) == (expected.text, expected.token_ids)
    assert "".join(piece.get("text", "") for piece in pieces) == expected.text


def test_it_meets_the_servers_errors(server: Running) -> None:
    inference = grpc_requests.Client.get_by_endpoint(server.address).service("adapterhub.v1.Inference")
    with pytest.raises(grpc.RpcError) as refused:
        inference.Generate({"text": "hello", "adapter": "nowhere"})
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
