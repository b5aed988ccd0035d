"""Layers run from kernel to kernel: one call for all of them gives the bits of one call for each part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from test_families import FAMILIES, RUN_BY_KERNELS
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine.decoder import Decoder
from adapterhub.engine.runner import Runner
from adapterhub.testing import save_tiny_llama, save_tokenizer
from adapterhub.testing.equality import Row, greedy, recording_engine, run


@pytest.fixture(params=RUN_BY_KERNELS)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> BaseModel:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[request.param]).save_pretrained(tmp_path / "base")  # type: ignore[no-untyped-call]
    save_tokenizer(tmp_path / "base")
    base = BaseModel.load(str(tmp_path / "base"), quantization="int8")
    if base.kernels is None or not base.kernels.tile:
        pytest.skip("int8 is torch's on this processor")
    return base


def adapters(base: BaseModel, folder: Path) -> dict[str, Adapter]:
    recipes: list[tuple[str, dict[str, Any]]] = [
        ("lora", {"r": 3}),
        ("lora", {"r": 8, "target_modules": ["v_proj", "down_proj"]}),
        ("ia3", {}),
    ]
    found = {}
    for index, (method, options) in enumerate(recipes):
        made = save_random_adapter(folder / str(index), method, base.shape, seed=index, **options)
        found[f"sha256:{index}"] = replace(read_folder(made), digest=f"sha256:{index}")
    return found


def decoder_of(runner: Runner) -> Decoder:
    decoder = runner._decoder
    assert decoder is not None
    return decoder


def test_one_call_for_all_layers_gives_the_same_bits(base: BaseModel, tmp_path: Path) -> None:
    known = adapters(base, tmp_path)
    requests = [greedy(range(5, 25 + index), name, 8) for index, name in enumerate(["", *list(known)[:2]] * 2)]
    answers: list[list[Row]] = []
    for whole in (True, False):
        with recording_engine(base, known, step_tokens=33) as (engine, recorder):
            decoder = decoder_of(engine._runner)
            assert decoder._structs is not None
            decoder._structs = decoder._structs if whole else None
            answers.append(run(engine, recorder, requests))
    for one, other in zip(*answers, strict=True):
        assert one.tokens == other.tokens
        assert torch.equal(one.logits, other.logits)


def test_a_step_with_another_method_changes_nothing_for_its_neighbours(base: BaseModel, tmp_path: Path) -> None:
    """Beside (IA)3, which no kernel computes, the layers run part by part."""
    known = adapters(base, tmp_path)
    request = greedy(range(5, 30), "sha256:0", 8)
    with recording_engine(base, known) as (engine, recorder):
        (alone,) = run(engine, recorder, [request])
        together = run(engine, recorder, [request, greedy(range(9, 40), "sha256:2", 8)])[0]
    assert torch.equal(alone.logits, together.logits)


def test_an_adapter_takes_its_own_bytes(tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base")), quantization="int8")
    if base.kernels is None:
        pytest.skip("torch computes in fp64")
    (adapter, *_) = adapters(base, tmp_path).values()
    with recording_engine(base, {"": adapter}) as (engine, _):
        (status,) = engine.adapters()
    own = sum(tensor.nbytes for tensor in adapter.read_tensors().values())
    assert status.nbytes == own
