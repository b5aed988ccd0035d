"""`adapterhub ps`, `load` and `unload`, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from serving import Serving, serving
from test_cli import run

from adapterhub.base import BaseModel


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(BaseModel.load(str(tiny_base), quantization="none"), tmp_path_factory.mktemp("serving")) as running:
        yield running


@pytest.fixture
def digest(server: Serving) -> str:
    """The digest of an adapter that only this test's server knows, as `team/digits:v1`; not loaded."""
    return server.publish("team/digits:v1").digest


def ask(server: Serving, verb: str, *words: str) -> Result:
    return run(verb, *words, "--address", server.address)


def told(server: Serving, digest: str) -> dict[str, object]:
    """What `ps` tells of one adapter."""
    known = {adapter["digest"]: adapter for adapter in json.loads(ask(server, "ps", "--json").stdout)}
    return dict(known[digest])


def test_what_is_loaded_is_listed_and_what_is_unloaded_too(server: Serving, digest: str) -> None:
    assert digest not in ask(server, "ps", "-q").stdout
    assert ask(server, "load", "team/digits:v1").stdout == f"team/digits:v1 {digest}\n"
    server.wait_until(lambda: told(server, digest)["running"] == 0)  # the load itself holds it for a moment
    header, *rows = ask(server, "ps").stdout.splitlines()
    assert header.split() == ["ADAPTER", "STATE", "METHOD", "SIZE", "RUNNING", "DIGEST"]
    (row,) = (row for row in rows if row.startswith("team/digits:v1"))
    assert row.split() == ["team/digits:v1", "resident", "lora", *row.split()[3:5], "0", digest[7:19]]
    assert ask(server, "unload", "team/digits:v1").stdout == f"team/digits:v1 {digest}\n"
    assert told(server, digest)["state"] == "unloaded"


def test_quiet_prints_digests_only(server: Serving, digest: str) -> None:
    for verb in ("load", "unload"):
        assert ask(server, verb, "team/digits:v1", "-q").stdout == f"{digest}\n"
    assert digest in ask(server, "ps", "-q").stdout.splitlines()


def test_json_is_for_machines(server: Serving, digest: str) -> None:
    (adapter,) = json.loads(ask(server, "load", "team/digits:v1", "--json").stdout)
    # The load itself may hold the adapter for a moment longer.
    assert told(server, digest) | {"running": 0} == adapter | {"running": 0}
    assert set(adapter) == {"digest", "refs", "method", "nbytes", "running", "state", "reason", "pinned"}
    assert (adapter["digest"], adapter["refs"], adapter["method"]) == (digest, ["team/digits:v1"], "lora")
    assert json.loads(ask(server, "unload", "team/digits:v1", "--json").stdout) == [
        {"ref": "team/digits:v1", "digest": digest}
    ]


def test_a_generation_under_way_is_counted(server: Serving, digest: str) -> None:
    with server.cut_short():
        stream = server.client.generate_stream("hi", adapter="team/digits:v1", max_new_tokens=300, ignore_eos=True)
        next(stream)
        assert told(server, digest)["running"] == 1
        stream.close()


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_an_adapter_that_is_not_there_ends_with_3(server: Serving, verb: str) -> None:
    refused = ask(server, verb, "nobody")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr.startswith("error: ")


@pytest.mark.parametrize("words", [("ps",), ("load", "x"), ("unload", "x")])
def test_without_a_server_they_end_with_6(words: tuple[str, ...]) -> None:
    alone = run(*words, "--address", "127.0.0.1:1")
    assert (alone.exit_code, alone.stdout) == (6, "")
    assert alone.stderr == "error: no server at 127.0.0.1:1; is it running? start one: adapterhub serve\n"
