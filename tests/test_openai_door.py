"""The HTTP door lets in who may, speaks TLS, and opens and closes with the server."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import openai
import pytest
from adapterhub_server.access import Access
from adapterhub_server.config import ServeConfig
from adapterhub_server.credentials import CertificateFiles
from adapterhub_server.http import reply
from adapterhub_server.http.protocol import BREAK
from adapterhub_server.keys import Keys
from adapterhub_server.serve import serve
from certificates import make_certificates
from openai import OpenAI
from serving import LONG, serving

from adapterhub.base import BaseModel
from adapterhub.client import Client, Tls
from adapterhub.errors import ConfigError, UnavailableError


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def test_keys_scopes_and_limits_are_those_of_grpc(base: BaseModel, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    team = keys.create("team", tenant="team", scopes=["infer"], adapters=["team/*"])
    manager = keys.create("manager", tenant="team", scopes=["manage"], adapters=[])
    with serving(base, tmp_path, access=Access(keys, max_calls=1), http=True) as server:
        server.publish("team/own")
        server.publish("other/own")
        asked: Any = {"prompt": "x", "max_tokens": 4}
        with OpenAI(base_url=server.url, api_key=team, max_retries=0) as client:
            assert [model.id for model in client.models.list()][1:] == ["team/own"]
            assert client.completions.create(model="team/own", **asked).choices
            with pytest.raises(openai.PermissionDeniedError, match="not allowed with this API key"):
                client.completions.create(model="other/own", **asked)
            server.pace.seconds = 0.05
            with Client(server.address, api_key=team) as ours:
                running = ours.generate_stream("x", max_new_tokens=LONG, ignore_eos=True)
                next(running)
                with pytest.raises(openai.RateLimitError) as shed:
                    client.completions.create(model="team/own", **asked)
                assert (shed.value.response.headers["retry-after"], shed.value.code) == ("1", "queue_full")
                running.close()
        for key, error in ((manager, openai.PermissionDeniedError), ("ahk_no", openai.AuthenticationError)):
            with OpenAI(base_url=server.url, api_key=key, max_retries=0) as client, pytest.raises(error):
                client.completions.create(model="team/own", **asked)
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        connection.request("GET", "/health")
        assert json.load(connection.getresponse()) == {"status": "ok"}
        connection.close()


def test_what_runs_when_the_door_closes_is_told_so(base: BaseModel, tmp_path: Path) -> None:
    with serving(base, tmp_path, http=True) as server:
        server.pace.seconds = 0.02
        with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            stream = iter(
                client.completions.create(
                    model=base.record.id, prompt="x", stream=True, max_tokens=LONG, extra_body={"ignore_eos": True}
                )
            )
            next(stream)
            assert server.web is not None
            server.loop.run(server.web.stop(grace=0))
            with pytest.raises(openai.APIError, match="the server is stopping"):
                list(stream)
        server.wait_idle()


def test_the_connection_of_a_client_that_reads_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "UNREAD_SECONDS", 0.01)
    told: list[str] = []

    async def send(message: Any) -> None:
        told.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # as uvicorn does while its buffer is full

    scope = {"type": "http", "state": {BREAK: lambda: told.append("broken")}}
    asyncio.run(reply.Reply(scope, send, "id").event({}))
    assert told == ["http.response.start", "http.response.body", "broken"]


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_is_that_of_grpc_and_renewed_certificates_are_taken(base: BaseModel, tmp_path: Path, mutual: bool) -> None:
    make_certificates(tmp_path)
    ca = tmp_path / "ca.pem"
    files = CertificateFiles(tmp_path / "server.pem", tmp_path / "server.key", ca if mutual else None)
    own = Tls(ca, tmp_path / "client.pem", tmp_path / "client.key")

    def client(*, known: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(ca))
        if known:
            context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        return context

    with serving(base, tmp_path, certificates=files, tls=own, http=True) as server:
        health = server.url.replace("/v1", "/health")
        assert health.startswith("https://")
        before = client()
        assert urlopen(health, context=before).status == 200
        if mutual:
            with pytest.raises(OSError, match=r"CERTIFICATE_REQUIRED|certificate required|closed|reset"):
                urlopen(health, context=client(known=False)).read()
        make_certificates(tmp_path)
        assert urlopen(health, context=client()).status == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urlopen(health, context=before)


def test_an_http_port_in_use_is_told_before_the_base_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = ServeConfig.load({"base": "no/such-base", "port": 0, "http_port": port}, where="test")
        with pytest.raises(UnavailableError, match=f"port {port} in use on 127.0.0.1; choose another with --http-port"):
            asyncio.run(serve(config, print))


def test_without_its_extra_the_door_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "uvicorn" or ".http_service" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    config = ServeConfig.load({"base": "none", "port": 0, "http_port": 0}, where="test")
    with pytest.raises(ConfigError, match=r"http_port: needs uvicorn: pip install 'adapterhub\[http\]'"):
        asyncio.run(serve(config, print))
