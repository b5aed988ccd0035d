"""tritonclient: what a program written for Triton sees of a server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from running import GREEDY, HERE, Running, running

from adapterhub.client import Client

PYTHON = HERE / "triton" / "bin" / "python"
"""`make clients` puts triton.txt there."""
PROMPT = "naïve café, 東京"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("running")) as made:
        yield made


@pytest.fixture(scope="module")
def seen(server: Running) -> Any:
    ended = subprocess.run([PYTHON, HERE / "triton_client.py", server.address], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.address) as made:
        yield made


def test_it_generates_as_the_python_client_does(client: Client, seen: Any) -> None:
    whole = [client.generate(text, adapter="orders", **GREEDY).text for text in (PROMPT, "hello")]
    assert (seen["whole"], seen["base"]) == (whole, [client.generate(PROMPT, **GREEDY).text])
    watched = client.generate(PROMPT, adapter="watched", **GREEDY).text
    assert seen["texts"] == {"orders": whole[0], "watched": watched}


def test_it_meets_the_servers_errors(seen: Any) -> None:
    (error,) = seen["errors"]
    assert "nowhere" in error
    status, message = seen["refused"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "beam_width" in message


def test_adapters_are_its_models(seen: Any) -> None:
    assert seen["server"] == "adapterhub"
    assert seen["ready"]
    assert seen["unloaded"]
    assert seen["loaded"]
    assert "text_output" in seen["outputs"]
