"""Layers run from kernel to kernel: one call for all of them gives the bits of one call for each part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from test_families import FAMILIES, RUN_BY_KERNELS
from torch import Tensor
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine.decoder import Decoder
from adapterhub.engine.runner import Runner
from adapterhub.method import BaseShape, Method, MethodConfig, Param, Params, Site
from adapterhub.plugins import Methods, installed_methods
from adapterhub.testing import save_random_adapter as save_random
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
    requests = [greedy(range(5, 25 + index), name, 8) for index, name in enumerate(["", *known] * 2)]
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


class Beside(Method[MethodConfig]):
    """A stranger's: at a module that LoRA acts on too, and reads what another one is given."""

    name, peft_type, Config = "beside", "BESIDE", MethodConfig

    def sites(self, config: MethodConfig, shape: BaseShape) -> list[Site]:
        layer, module = shape.layers[0], f"{shape.layers[0]}.self_attn.q_proj"
        params = {"a": Param((shape.modules[module].out_features,))}
        return [Site("module", params, module=module, tap=f"{layer}.input_layernorm")]

    def post(self, config: MethodConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + x.sum(dim=-1, keepdim=True) * p["a"]


def test_a_step_with_a_method_that_no_kernel_computes_changes_nothing_for_its_neighbours(
    base: BaseModel, tmp_path: Path
) -> None:
    known = adapters(base, tmp_path)
    made = save_random(tmp_path / "beside", Beside(), MethodConfig(), base.shape)
    known["sha256:3"] = replace(read_folder(made), digest="sha256:3")
    methods = Methods({**installed_methods().by_name, "beside": Beside()}, ())
    requests = [greedy(range(5, 30), f"sha256:{index}", 8) for index in (0, 2)]
    with recording_engine(base, known, methods=methods) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
        together = run(engine, recorder, [*requests, greedy(range(9, 40), "sha256:3", 8)])
    for one, other in zip(alone, together, strict=False):
        assert torch.equal(one.logits, other.logits)


def test_an_adapter_takes_its_own_bytes(tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base")), quantization="int8")
    if base.kernels is None:
        pytest.skip("torch computes in fp64")
    (adapter, *_) = adapters(base, tmp_path).values()
    with recording_engine(base, {"": adapter}) as (engine, _):
        (status,) = engine.adapters()
    own = sum(tensor.nbytes for tensor in adapter.read_tensors().values())
    assert status.nbytes == own
