"""Clients that freeze, and adapters that come from far: what the service does about the rest of the world."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from adapterhub_server.catalog import Catalog
from adapterhub_server.hub_adapters import from_hub
from conftest import save_random_adapter
from serving import LONG, serving
from stand_in_hub import StandInHub

from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import BaseMismatchError, ForbiddenError, NotFoundError
from adapterhub.store import Store

READS = """
import sys
from adapterhub.client import Client

for piece in Client(sys.argv[1]).generate_stream("hello", max_new_tokens=int(sys.argv[2]), ignore_eos=True):
    print("piece", flush=True)
"""


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def test_a_client_that_freezes_is_dropped_and_what_it_asked_for_ends(base: BaseModel, tmp_path: Path) -> None:
    words = [sys.executable, "-c", READS]
    with serving(base, tmp_path, keepalive=1.0) as server:
        server.pace.seconds = 0.05
        with subprocess.Popen([*words, server.address, str(LONG)], stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"piece\n"
            reader.send_signal(signal.SIGSTOP)
            server.wait_until(lambda: not server.engine.stats().running)
            assert server.engine.stats().generated_tokens < LONG
            reader.kill()
        server.wait_idle()


def test_a_request_brings_an_adapter_from_the_hub_where_the_operator_allows_it(
    base: BaseModel, hub: StandInHub, tiny_base: Path, tmp_path: Path
) -> None:
    made = save_random_adapter(tmp_path / "made", "lora", base.shape)
    hub.add("alice/Digits-LoRA", {path.name: path.read_bytes() for path in made.iterdir()})
    store = Store.default()

    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store, from_hub(["hf:alice/*"], store, str(tiny_base)))
        first, second = await asyncio.gather(*(catalog.resident("hf:alice/Digits-LoRA") for _ in range(2)))
        assert first.digest == second.digest == store.pin("alice/digits-lora").digest
        with pytest.raises(ForbiddenError, match="hf:bob/"):
            await catalog.get("hf:bob/Digits-LoRA")
        with pytest.raises(NotFoundError):
            await catalog.get("hf:alice/gone")

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(ask(engine))


def test_an_adapter_of_another_base_is_not_taken_from_the_hub(
    base: BaseModel, hub: StandInHub, other_base: Path, tiny_base: Path, tmp_path: Path
) -> None:
    other = BaseModel.load(str(other_base), quantization="none")
    made = save_random_adapter(tmp_path / "made", "lora", other.shape)
    hub.add("alice/other", {path.name: path.read_bytes() for path in made.iterdir()})
    store = Store.default()

    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store, from_hub(["hf:alice/*"], store, str(tiny_base)))
        with pytest.raises(BaseMismatchError):
            await catalog.get("hf:alice/other")

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(ask(engine))
    assert store.list() == ()
