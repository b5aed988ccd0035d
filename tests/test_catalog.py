"""The server's names for adapters, above an engine with little room."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from pathlib import Path

import pytest
from adapterhub_server.catalog import Catalog
from adapterhub_server.hub_adapters import allowed
from adapterhub_server.known_adapter import KnownAdapter, State
from conftest import save_random_adapter

from adapterhub.adapter import TENSORS_FILE, Adapter
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import (
    AdapterNotFoundError,
    BaseMismatchError,
    ConflictError,
    CorruptAdapterError,
    ForbiddenError,
    UnsupportedAdapterError,
)
from adapterhub.store import AdapterRef, Store


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture
def store(base: BaseModel, tmp_path: Path) -> Store:
    """Two adapters of one size."""
    store = Store.default()
    for seed in (1, 2):
        store.publish(save_random_adapter(tmp_path / str(seed), "lora", base.shape, seed=seed), f"task-{seed}")
    return store


async def until(catalog: Catalog, ref: str, state: State) -> list[State]:
    """The states that `watch` tells, up to this one."""
    states = []
    async with asyncio.timeout(30), aclosing(catalog.watch(ref)) as watched:
        async for known in watched:
            states.append(known.state)
            if known.state == state:
                return states
    raise AssertionError(states)


def test_loading_answers_at_once_and_brings_an_evicted_adapter_back(base: BaseModel, store: Store) -> None:
    async def load_in_turn(engine: Engine) -> None:
        catalog = Catalog(engine, store)
        for name in ("task-1", "task-2", "task-1", "task-2"):
            assert (await catalog.load(name)).state != "resident"
            await until(catalog, name, "resident")
        assert [known.state for known in catalog.list()].count("resident") == 1

    with Engine(base, kv_tokens=256, adapter_bytes=store.resolve("task-1").nbytes) as engine:
        asyncio.run(load_in_turn(engine))
        assert engine.stats().evictions == 3


def test_a_pinned_adapter_stays_and_another_waits_for_its_room(base: BaseModel, store: Store) -> None:
    async def pin_one(engine: Engine) -> None:
        catalog = Catalog(engine, store)
        assert (await catalog.pin("task-1")).pinned
        await until(catalog, "task-1", "resident")
        await catalog.load("task-2")
        await until(catalog, "task-2", "validating")
        assert (await catalog.describe("task-1")).state == "resident"
        assert not (await catalog.unpin("task-1")).pinned
        await until(catalog, "task-2", "resident")
        assert (await catalog.describe("task-1")).state in ("host", "disk")

    with Engine(base, kv_tokens=256, adapter_bytes=store.resolve("task-1").nbytes) as engine:
        asyncio.run(pin_one(engine))


def test_what_was_unloaded_is_refused_until_it_is_loaded_again(base: BaseModel, store: Store) -> None:
    async def unload(engine: Engine) -> None:
        catalog = Catalog(engine, store)
        adapter = await catalog.resident("task-1")
        assert await catalog.unload("task-1") == adapter.digest
        assert await until(catalog, "task-1", "unloaded") == ["unloaded"]
        with pytest.raises(ConflictError, match="task-1 was unloaded"):
            await catalog.get("task-1")
        await catalog.load("task-1")
        assert (await catalog.resident("task-1")).digest == adapter.digest

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(unload(engine))


def test_a_load_that_fails_says_why_in_its_state(base: BaseModel, store: Store) -> None:
    path = store.resolve("task-1").files[TENSORS_FILE]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-8])

    async def load(engine: Engine) -> KnownAdapter:
        catalog = Catalog(engine, store)
        await catalog.load("task-1")
        await until(catalog, "task-1", "failed")
        return await catalog.describe("task-1")

    with Engine(base, kv_tokens=256) as engine:
        known = asyncio.run(load(engine))
    assert path.name in known.reason


def test_nothing_comes_from_the_hub_unless_that_is_allowed(base: BaseModel, store: Store) -> None:
    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store)
        with pytest.raises(ForbiddenError, match="nothing from the Hub"):
            await catalog.get("hf:org/name")
        await catalog.load("hf:org/name")
        await until(catalog, "hf:org/name", "failed")
        assert "nothing from the Hub" in (await catalog.describe("hf:org/name")).reason


def test_patterns_are_matched_whole(store: Store) -> None:
    download = allowed(["hf:my-org/*", "hf:other/one"], lambda asked: store.pin("task-1"))
    for name in ("hf:my-org/a", "hf:my-org/b:v1", "hf:other/one"):
        assert download(AdapterRef.parse(name)).digest
    for name in ("hf:other/one-more", "hf:not-my-org/a", "hf:My-org/a"):
        with pytest.raises(ForbiddenError, match="may take from the Hub"):
            download(AdapterRef.parse(name))


def test_a_digest_of_the_hub_is_asked_for_by_itself(base: BaseModel, store: Store) -> None:
    there, wrong = store.pin("task-1"), store.pin("task-2").digest

    def download(ref: AdapterRef) -> AdapterRef:
        if ref.digest not in ("", there.digest):
            raise CorruptAdapterError("another digest")
        return there

    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store, download)
        plain, pinned = catalog.get("hf:org/name"), catalog.get(f"hf:org/name@{wrong}")
        found, refused = await asyncio.gather(plain, pinned, return_exceptions=True)
        assert isinstance(found, Adapter)
        assert isinstance(refused, CorruptAdapterError)
        assert (await catalog.get(f"hf:org/name@{there.digest}")).digest == there.digest
        assert (await catalog.describe("hf:org/name")).digest == there.digest

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(ask(engine))


def test_a_failed_download_is_remembered_for_a_while(base: BaseModel, store: Store) -> None:
    asked = []

    def download(ref: AdapterRef) -> AdapterRef:
        asked.append(ref)
        raise AdapterNotFoundError("no such repository")

    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store, download)
        for _ in range(3):
            with pytest.raises(AdapterNotFoundError, match="no such repository"):
                await catalog.get("hf:org/name")
        assert len(asked) == 1
        await catalog.load("hf:org/name")
        await until(catalog, "hf:org/name", "failed")

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(ask(engine))
    assert len(asked) == 2


def test_a_download_is_shared_and_its_state_told(base: BaseModel, store: Store) -> None:
    gate, asked = threading.Event(), []

    def download(ref: AdapterRef) -> AdapterRef:
        asked.append(str(ref))
        assert gate.wait(30)
        return store.pin("task-1")

    async def ask(engine: Engine) -> None:
        catalog = Catalog(engine, store, download)
        assert (await catalog.load("hf:Org/Name")).state == "downloading"
        waiting = asyncio.create_task(catalog.get("hf:Org/Name"))
        assert [known.state for known in catalog.list()] == ["downloading"]
        gate.set()
        adapter = await waiting
        await until(catalog, "hf:Org/Name", "resident")
        assert await catalog.get("hf:Org/Name") == adapter
        assert (await catalog.describe("hf:Org/Name")).digest == adapter.digest

    with Engine(base, kv_tokens=256) as engine:
        asyncio.run(ask(engine))
    assert len(asked) == 1


def test_a_config_that_matches_nothing_blames_the_adapter(base: BaseModel, tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path, "lora", base.shape)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"all-linear"', '["zzz"]'))
    adapter = Store.default().resolve(Store.default().publish(folder, "odd"))
    with Engine(base, kv_tokens=256) as engine, pytest.raises(UnsupportedAdapterError, match=f"{adapter.digest}.*zzz"):
        engine.load_adapter(adapter)


def test_all_tensors_that_do_not_fit_are_listed(base: BaseModel, tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path, "lora", base.shape, target_modules=["q_proj"])
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace("q_proj", "k_proj"))
    adapter = Store.default().resolve(Store.default().publish(folder, "odd"))
    with Engine(base, kv_tokens=256) as engine, pytest.raises(BaseMismatchError) as refused:
        engine.load_adapter(adapter)
    assert str(refused.value).count("not in the plan") == str(refused.value).count("missing") == 6
    assert adapter.digest in str(refused.value)
