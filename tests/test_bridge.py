"""PEFT's other types: served through PEFT's own layers exactly as PEFT computes them, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from adapterhub_bridge import BRIDGED
from adapterhub_bridge.borrowed import Borrowed, Lender
from adapterhub_bridge.layer_op import LayerOp
from adapterhub_bridge.method import Bridged
from adapterhub_bridge.virtual_tokens import Cartridge, Cpt, MultitaskPromptTuning
from conftest import save_random_adapter
from peft import PeftModel, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from training import assert_trains
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import ConfigError, MethodNotFoundError, UnsupportedAdapterError
from adapterhub.peft import peft_config
from adapterhub.plugins import Methods, installed_methods
from adapterhub.testing import MethodContract, random_adapter, save_tiny_llama
from adapterhub.testing.equality import assert_equal, greedy, recording_engine, run

TARGETS = {"target_modules": ["q_proj", "v_proj", "down_proj"]}
RECIPES: dict[str, dict[str, Any]] = {
    "BEFT": {},
    "BOFT": {},
    "C3A": {"options": {"block_size": 4}, "starts_as_identity": False},
    "DEFT": {},
    "DELORA": {"scale": 1.0},
    "FOURIERFT": {"options": {"n_frequency": 200}, "starts_as_identity": False},
    "FROD": {"options": {"progressbar": False}},
    "GLORA": {},
    "GRALORA": {"options": {"r": 8}},
    "HIRA": {"options": {"r": 8}},
    "HRA": {},
    "MISS": {"options": {"r": 8}},
    "OSF": {},
    "PEANUT": {"options": {"r": 8}},
    "PSOFT": {"options": {"r": 8}},
    "PVERA": {"options": {"r": 8}, "scale": 0.4},
    "RANDLORA": {"options": {"r": 8}},
    "ROAD": {"options": {"group_size": 4}},
    "SHIRA": {"options": {"r": 4}},
    "SUPERTUNING": {},
    "TINYLORA": {"scale": 0.4},
    "UNILORA": {"starts_as_identity": False, "scale": 0.4},
    "VBLORA": {"options": {"vector_length": 4, "num_vectors": 16}, "starts_as_identity": False},
    "WAVEFT": {"options": {"n_frequency": 200}},
}
"""What the contract is run with, by PEFT type."""


def contract(peft_type: str) -> type[MethodContract]:
    """The contract of one bridged type."""
    recipe = RECIPES[peft_type]
    (method,) = (method for method in BRIDGED if method.peft_type == peft_type)
    options = {**TARGETS, **recipe.get("options", {})}
    namespace = {"made_by_peft": True, **recipe, "method": method, "options": options}
    made = type(f"Test{peft_type.title()}", (MethodContract,), namespace)
    # What PEFT notes of its own, more experimental types matters to who trains with PEFT.
    return pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")(made)


for peft_type in RECIPES:
    globals()[f"Test{peft_type.title()}"] = contract(peft_type)

CPT = {
    "num_virtual_tokens": 4,
    "cpt_token_ids": [7, 8, 9, 10],
    "cpt_mask": [1, 1, 1, 1],
    "cpt_tokens_type_mask": [1, 2, 3, 4],
    "opt_projection_epsilon": 9.0,
}


class TestCartridge(MethodContract):
    method = Cartridge()
    options = ({"num_virtual_tokens": 5},)
    scale = 0.5


class TestCpt(MethodContract):
    method = Cpt()
    options = (CPT,)
    scale = 0.5


RATES = {"FROD": 0.3, "PVERA": 0.3, "SHIRA": 0.1, "SUPERTUNING": 0.1, "UNILORA": 0.3, "CPT": 0.3}
"""Learning rates of types that move slowly on the tiny base; 0.03 for others."""
TRAINED = {peft_type: TARGETS | recipe.get("options", {}) for peft_type, recipe in RECIPES.items()}
TRAINED |= {"CARTRIDGE": {"num_virtual_tokens": 4}, "CPT": CPT}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("peft_type", TRAINED)
def test_trained_by_peft_and_saved_as_it_is_served(base: BaseModel, tmp_path: Path, peft_type: str) -> None:
    rate = RATES.get(peft_type, 0.03)
    assert_trains(base, peft_type.lower(), tmp_path / "run" / "out", rate=rate, options=TRAINED[peft_type])


def shaken_by_peft(base: BaseModel, method: Bridged, folder: Path, seed: int) -> Adapter:
    """A fresh adapter of PEFT's with noise on what learns."""
    config = method.Config.load(TRAINED[method.peft_type], where="test")
    model = AutoModelForCausalLM.from_pretrained(base.record.id, dtype=torch.float32)
    adapted = get_peft_model(model, peft_config(method, config))
    scale = RECIPES[method.peft_type].get("scale", 0.1)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * scale
    adapted.save_pretrained(str(folder))
    return replace(read_folder(folder), digest=f"sha256:{method.name}")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_all_of_them_in_one_batch_on_a_quantized_base_are_what_they_are_alone(
    quantization: Literal["int8", "nf4"], tmp_path: Path
) -> None:
    folder = save_tiny_llama(tmp_path / "base", hidden=64)
    base = BaseModel.load(str(folder), quantization=quantization, device="cpu")
    base = replace(base, record=base.record.model_copy(update={"id": str(folder)}))
    served = [method for method in BRIDGED if quantization in method.served_on]
    assert len(served) >= 15
    adapters = {
        method.name: shaken_by_peft(base, method, tmp_path / method.name, seed) for seed, method in enumerate(served)
    }
    digests = ["", *(adapter.digest for adapter in adapters.values())]
    requests = [greedy(range(3 + n, 20 + 2 * n), digest, 4) for n, digest in enumerate(digests)]
    with recording_engine(base, adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
        bare = run(engine, recorder, [replace(request, adapter="") for request in requests])
    with recording_engine(base, adapters, step_tokens=61) as (engine, recorder):
        assert_equal(engine, recorder, requests, alone, tolerance=0.0 if quantization == "int8" else 1e-4)
    still = [
        request.adapter
        for request, row, base_row in zip(requests, alone, bare, strict=True)
        if float((row.logits[0] - base_row.logits[0]).abs().max()) < 0.05
    ]
    assert still == [""], "these do nothing"


def test_a_prompt_of_one_task_is_served_as_peft_computes_it(base: BaseModel, tiny_base: Path, tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path, "multitask_prompt_tuning", base.shape, scale=1.0, num_virtual_tokens=5)
    request = greedy(range(9, 30), "sha256:task", 6)
    with recording_engine(base, {"": replace(read_folder(folder), digest="sha256:task")}) as (engine, recorder):
        (row,) = run(engine, recorder, [request])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
    ids = torch.tensor([[*request.prompt_ids, *row.tokens]])
    with torch.no_grad():
        logits = model(input_ids=ids, task_ids=torch.tensor([0])).logits[0]
    torch.testing.assert_close(row.logits, logits[-7:-1], atol=1e-4, rtol=0)


def test_a_prompt_of_several_tasks_is_refused_by_name() -> None:
    config = MultitaskPromptTuning().Config
    with pytest.raises(UnsupportedAdapterError, match="num_tasks"):
        config.from_peft({"num_tasks": 3}, where="adapter a")


def test_every_type_that_peft_has_is_served_or_refused_with_a_reason() -> None:
    methods = installed_methods()
    served = {method.peft_type for method in methods.by_name.values()}
    known = {peft_type.value for peft_type in PEFT_TYPE_TO_CONFIG_MAPPING if isinstance(peft_type, PeftType)}
    assert known - served - methods.unserved.keys() == set(), "a new type: serve it, or say why not"
    assert methods.unserved.keys() <= known
    assert not served & methods.unserved.keys()
    assert len(known & served) >= 37
    assert all(len(refused.reason) > 20 for refused in methods.unserved.values())


@pytest.mark.parametrize("peft_type", ["LILY", "POLY", "XLORA", "SHADOW", "ADAPTION_PROMPT", "ADAMSS"])
def test_a_refused_type_is_refused_with_its_reason(peft_type: str) -> None:
    reason = installed_methods().unserved[peft_type].reason
    with pytest.raises(UnsupportedAdapterError) as refused:
        installed_methods().for_peft_type(peft_type)
    assert f"peft_type {peft_type!r} is not served: {reason}" in str(refused.value)
    with pytest.raises(MethodNotFoundError, match="is not served: "):
        installed_methods().for_training(peft_type.lower())


def test_a_layer_that_couples_rows_is_caught_when_it_is_loaded(base: BaseModel, tmp_path: Path) -> None:
    lily = Bridged("LILY")
    methods = Methods({"lily": lily}, ())
    config = lily.Config.load({**TARGETS, "r": 4}, where="test")
    folder = random_adapter.save_random_adapter(tmp_path, lily, config, base.shape)
    with (
        Engine(base, methods=methods) as engine,
        pytest.raises(UnsupportedAdapterError, match="q_proj: a row's result depends on the rows beside it"),
    ):
        engine.load_adapter(replace(read_folder(folder), digest="sha256:lily"))


class WritesToItsInput(nn.Module):
    """Built as PEFT's layers are."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(4, 3, bias=False)
        lender = Lender("some.module", bias=False, values=None)
        self.base_layer.weight = nn.Parameter(Borrowed((3, 4), torch.float32, torch.device("cpu"), lender), False)

    def get_base_layer(self) -> nn.Module:
        return self.base_layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.base_layer(x.mul_(2))
        return result


def test_a_layer_that_writes_to_its_input_is_caught_when_it_is_loaded() -> None:
    with pytest.raises(UnsupportedAdapterError, match=r"some\.module: the method writes to its input"):
        LayerOp("some.module", WritesToItsInput(), "own").check(torch.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["query"]}, "target_modules: 'query' matches no linear module .*down_proj"),
        ({"r": "many"}, "r: .*integer"),
        ({"rank": 4}, "unknown option 'rank'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] is not served"),
        ({"bias": "all"}, "bias='all' is not served"),
    ],
)
def test_a_wrong_option_is_named(base: BaseModel, options: dict[str, Any], message: str) -> None:
    gralora = installed_methods().get("gralora")
    with pytest.raises(ConfigError, match=message):
        gralora.plan(gralora.Config.load(options, where="method gralora"), base.shape)


def test_a_rank_that_peft_refuses_is_a_named_error(base: BaseModel) -> None:
    gralora = installed_methods().get("gralora")
    with pytest.raises(ConfigError, match=r"r should be divisible by gralora_k, but got 7"):
        gralora.plan(gralora.Config.load({**TARGETS, "r": 7}, where="test"), base.shape)


def test_its_bytes_are_those_of_its_layers(base: BaseModel, tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path, "gralora", base.shape, r=8, target_modules=["q_proj"])
    adapter = replace(read_folder(folder), digest="sha256:gralora")
    with Engine(base, kv_tokens=256) as engine:
        engine.load_adapter(adapter)
        assert engine.adapters()[0].nbytes == adapter.nbytes
