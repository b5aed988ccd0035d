"""The server's names for adapters, above an engine with little room."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import sentinel

import pytest
from adapterhub_server.adapters import AdaptersServicer
from adapterhub_server.catalog import Catalog
from conftest import save_random_adapter

from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import BaseMismatchError, UnsupportedAdapterError
from adapterhub.pb.v1 import adapters_pb2
from adapterhub.store import Store


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def test_loading_brings_an_evicted_adapter_back(base: BaseModel, tmp_path: Path) -> None:
    store = Store.default()
    for seed in (1, 2):
        store.publish(save_random_adapter(tmp_path / str(seed), "lora", base.shape, seed=seed), f"task-{seed}")
    size = store.resolve("task-1").nbytes

    async def load_in_turn(engine: Engine) -> list[str]:
        servicer = AdaptersServicer(engine, Catalog(engine, store))
        answers = []
        for name in ("task-1", "task-2", "task-1", "task-2"):
            answer = await servicer.Load(adapters_pb2.LoadAdapterRequest(adapter=name), sentinel.context)
            answers.append(answer.adapter.refs[0])
        return answers

    with Engine(base, kv_tokens=256, adapter_bytes=size) as engine:
        assert asyncio.run(load_in_turn(engine)) == [f"task-{n}:latest" for n in (1, 2, 1, 2)]
        assert engine.stats().evictions == 3


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
