"""Captured decode steps, on a tape in place of a CUDA graph, and with torch in place of Triton.

Nothing here runs on a device: what is held is all that is ours, from padding to what a graph bakes in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_rows
from conftest import save_random_adapter
from tape import Launches, Tape
from torch import Tensor

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request, Sampling, captured
from adapterhub.engine.recorder import CudaRecorder, Recorder
from adapterhub.errors import ConfigError
from adapterhub.ops.cuda import CudaKernels
from adapterhub.testing.equality import Recorder as Observer
from adapterhub.testing.equality import Row, greedy, run

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
def base(plain: BaseModel, tape: Tape) -> BaseModel:
    launches: Any = Launches(torch_rows, tape)
    return replace(plain, adapter_kernels=CudaKernels(launches, torch.device("cpu")))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape is captured as soon as it comes, and few positions are enough to change it."""
    monkeypatch.setattr(captured, "WORTH", 0)
    monkeypatch.setattr(captured, "LEAST_PLACES", 8)


def answers(
    base: BaseModel,
    adapters: dict[str, Adapter],
    batches: list[list[Request]],
    recorder: Recorder | None = None,
    *,
    kv_tokens: int = 1024,
) -> list[Row]:
    """What an engine answers to the batches, one after the other."""
    observer, found = Observer(), []
    with Engine(base, observe=observer, kv_tokens=kv_tokens, step_tokens=16, recorder=recorder) as engine:
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


def test_a_shape_is_captured_once_for_all_adapters_that_act_at_the_same_modules(
    base: BaseModel, adapters: dict[str, Adapter], tape: Tape, tmp_path: Path
) -> None:
    """Their addresses are read at each replay; a rank between two sizes is no shape of its own."""
    save_random_adapter(tmp_path, "lora", base.shape, seed=99, scale=0.2, r=7)
    both = {"lora": adapters["lora"], "other": replace(read_folder(tmp_path), digest="sha256:other")}
    batches = [[request(5, 2, name, 5)] for name in ("lora", "other", "lora")]
    expected = answers(base, both, batches)
    assert expected[0].tokens != expected[1].tokens
    assert_same(answers(base, both, batches, tape), expected)
    assert (tape.recorded, tape.replayed) == (1 + 1, 12 + 3), "and that of the token that holds the engine, thrice"


@pytest.mark.parametrize(("name", "recorded"), [("", 1), ("lora", 2)])
def test_what_a_graph_gets_wrong_is_noticed_and_answered_as_ever(
    base: BaseModel, adapters: dict[str, Adapter], name: str, recorded: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not read its inputs again gives the logits of the padding it was recorded with.

    The token that holds the engine is the same as the padding.
    """
    batches = [[request(5, 4, name, 6)], [request(9, 3, name, 6)]]
    stale = Stale()
    assert_same(answers(base, adapters, batches, stale), answers(base, adapters, batches))
    assert stale.recorded == recorded, "it is not tried again"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "of their spread off" in caplog.text


def test_what_cannot_be_captured_runs_as_ever(
    base: BaseModel, adapters: dict[str, Adapter], caplog: pytest.LogCaptureFixture
) -> None:
    batches = [[request(5, 4, "lora", 6)], [request(9, 3, "", 6)]]
    assert_same(answers(base, adapters, batches, Broken()), answers(base, adapters, batches))
    assert "not captured any more: RuntimeError: operation not permitted" in caplog.text
    assert len(caplog.records) == 1


def test_steps_of_prompts_guesses_and_methods_in_python_are_not_captured(
    base: BaseModel, adapters: dict[str, Adapter], tape: Tape
) -> None:
    guessing = Request(tuple([5, 6, 7] * 4), "", Sampling(max_new_tokens=8, ignore_eos=True, lookup_tokens=4))
    batches = [[request(5, 30, "lora", 1)], [request(5, 3, "vera", 4), request(6, 3, "", 3)], [guessing]]
    expected = answers(base, adapters, batches)
    assert_same(answers(base, adapters, batches[:2], tape), expected[:3])
    assert (tape.recorded, tape.replayed) == (1, 2), "the token that holds the engine"
    assert_same(answers(base, adapters, batches[2:], tape), expected[3:])


def test_numbers_that_are_not_finite_stop_nothing_and_stay_in_their_row(
    base: BaseModel, adapters: dict[str, Adapter], tape: Tape, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever brings such an adapter does not switch capturing off for all. Two blocks, one for each of two rows."""
    folder = save_random_adapter(tmp_path, "lora", base.shape, seed=3, scale=1e20, r=4)
    known = {"lora": adapters["lora"], "broken": replace(read_folder(folder), digest="sha256:broken")}
    batches = [[request(5, 4, "broken", 5)], [request(7, 3, "lora", 5), request(5, 9, "broken", 5)]]
    expected, found = (answers(base, known, batches, each, kv_tokens=32) for each in (None, tape))
    for _, whole, broken in (expected, found):
        assert not broken.logits.isfinite().any()
        assert whole.logits.isfinite().all()
    assert_same(found[1:2], expected[1:2])
    assert tape.recorded == 1 + 2
    assert not caplog.records


def test_graphs_are_few_and_a_shape_must_be_worth_one(
    base: BaseModel, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "WORTH", 3)
    monkeypatch.setattr(captured, "GRAPHS", 2)
    monkeypatch.setattr(captured, "LEAST_PLACES", 32)
    alone, three = [request(5, 2, "", 8)], [request(start, 2, "", 8) for start in (5, 9, 13)]
    batches = [alone, three, [request(5, 40, "", 8)], alone, three]
    expected = answers(base, {}, batches)
    assert_same(answers(base, {}, batches, tape), expected)
    assert tape.recorded == 4, "the second was dropped meanwhile"
    held = 1 + 4  # the token that holds the engine, as `alone`; the first time it is not worth a graph
    assert tape.replayed == (held - 1) + 5 + 4 + 4 + 7 + 4


def test_only_cuda_has_graphs(plain: BaseModel) -> None:
    with pytest.raises(ConfigError, match=r"cuda_graphs: the base is on cpu") as raised:
        Engine(plain, cuda_graphs=True)
    assert raised.value.field == "cuda_graphs"
    with pytest.raises(ConfigError, match=r"held as int8 .*\(accepted: none, nf4\)"):
        CudaRecorder.of(replace(plain, device=torch.device("cuda"), quantization="int8"))


class Stale(Tape):
    """Gives what it gave when it recorded."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        result = run().clone()
        self.recorded += 1
        return lambda: result


class Broken(Tape):
    """As a device that is asked for what it cannot record."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        run()
        raise RuntimeError("operation not permitted when stream is capturing\nand so on")
