"""Captured decode steps, on a tape in place of a CUDA graph and with the Triton kernels in their interpreter.

Nothing here runs on a device: what is held is all that is ours, from padding to what a graph bakes in.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from tape import Launches, Tape
from torch import Tensor

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request, captured
from adapterhub.engine.recorder import CudaRecorder, Recorder
from adapterhub.errors import ConfigError
from adapterhub.ops.cuda import CudaKernels
from adapterhub.testing.equality import Recorder as Observer
from adapterhub.testing.equality import Row, greedy, run

pytest.importorskip("triton", reason="Triton is made for Linux only")

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")

ROWS = "adapterhub.ops.cuda.rows"
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"r": 4}),
    "wide": ("lora", {"r": 20, "target_modules": ["q_proj", "down_proj", "lm_head"]}),
    "ia3": ("ia3", {}),
    "bottleneck": ("bottleneck", {"reduction_factor": 8}),
    "parallel": ("bottleneck", {"placement": "parallel", "reduction_factor": 8}),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 3}),
    "vera": ("vera", {"r": 4}),
}


@pytest.fixture(scope="module")
def rows() -> Iterator[ModuleType]:
    """The kernels for the interpreter, which whoever imports them next does not get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, ROWS, raising=False)
        yield importlib.import_module(ROWS)
        patch.delitem(sys.modules, ROWS)


@pytest.fixture(scope="module")
def plain(tiny_base: Path) -> BaseModel:
    """A base as on CUDA: transformers' modules and torch's attention."""
    return replace(BaseModel.load(str(tiny_base), quantization="none"), kernels=None, adapter_kernels=None)


@pytest.fixture(scope="module")
def adapters(plain: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    folder = tmp_path_factory.mktemp("adapters")
    made = {}
    for seed, (name, (method, options)) in enumerate(RECIPES.items()):
        path = save_random_adapter(folder / name, method, plain.shape, seed=seed, scale=0.2, **options)
        made[name] = replace(read_folder(path), digest=f"sha256:{name}")
    return made


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def base(plain: BaseModel, rows: ModuleType, tape: Tape) -> BaseModel:
    launches: Any = Launches(rows, tape)
    return replace(plain, adapter_kernels=CudaKernels(launches, torch.device("cpu")))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape is captured as soon as it comes, and few positions are enough to change it."""
    monkeypatch.setattr(captured, "WORTH", 0)
    monkeypatch.setattr(captured, "LEAST_PLACES", 8)


def answers(
    base: BaseModel, adapters: dict[str, Adapter], batches: list[list[Request]], recorder: Recorder | None = None
) -> list[Row]:
    """What an engine answers to the batches, one after the other."""
    observer, found = Observer(), []
    with Engine(base, observe=observer, kv_tokens=1024, step_tokens=16, recorder=recorder) as engine:
        for adapter in adapters.values():
            engine.load_adapter(adapter)
        for requests in batches:
            found += run(engine, observer, requests)
        engine.check_integrity()
    return found


def assert_same(found: list[Row], expected: list[Row]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tokens == other.tokens
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)


def request(start: int, prompt: int, name: str, new: int) -> Request:
    return greedy(range(start, start + prompt), f"sha256:{name}" if name else "", new)


def test_mixed_batches_that_shrink_and_grow_get_what_they_get_step_by_step(
    base: BaseModel, adapters: dict[str, Adapter], tape: Tape, caplog: pytest.LogCaptureFixture
) -> None:
    """Adapters change between replays, contexts grow past a size, prompts of more steps come in between."""
    batches = [
        [request(5, 4, "lora", 6), request(9, 3, "", 9), request(7, 5, "wide", 3)],
        [request(11, 20, "wide", 4), request(6, 2, "ia3", 8), request(8, 6, "lora", 5), request(3, 3, "prompt", 7)],
        [request(13, 3, "bottleneck", 7), request(4, 7, "parallel", 3), request(12, 2, "ia3", 5)],
        [request(5, 2, "lora", 4), request(6, 2, "wide", 4)],
        [request(7, 2, "wide", 4), request(8, 2, "lora", 4)],
    ]
    expected = answers(base, adapters, batches)
    assert not tape.recorded
    found = answers(base, adapters, batches, tape)
    assert_same(found, expected)
    assert tape.replayed > 1.5 * tape.recorded > 0, "graphs are used again"
    assert not caplog.records
