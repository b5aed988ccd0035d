"""DoRA is served as PEFT computes it; its norms hold where an update cancels the weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_lora.dora import row_norms
from lora_cases import PEFT_SAYS, LoraCase

from adapterhub.base.quantize import Quantization
from adapterhub.testing.equality import Row

pytestmark = PEFT_SAYS

LLAMA: dict[str, dict[str, Any]] = {
    "all-linear": {"use_dora": True},
    "rslora": {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"up_proj": 3}},
    "head": {"use_dora": True, "target_modules": ["lm_head", "k_proj"]},
    "with-saved-embedding": {"use_dora": True, "target_modules": ["v_proj"], "modules_to_save": ["embed_tokens"]},
    "plain": {"lora_alpha": 9},
}
GPT2: dict[str, dict[str, Any]] = {
    "transposed": {"use_dora": True},
    "own-biases": {"use_dora": True, "target_modules": ["c_attn", "c_fc"], "bias": "lora_only"},
    "all-biases": {"use_dora": True, "target_modules": ["c_proj"], "bias": "all"},
}
RECIPES = {"llama": LLAMA, "gpt2": GPT2}


@pytest.fixture(scope="module", params=RECIPES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoraCase:
    return LoraCase.make(request.param, RECIPES[request.param], tmp_path_factory.mktemp("dora"))


@pytest.fixture(scope="module")
def alone(case: LoraCase) -> list[Row]:
    return case.alone()


def test_served_rows_are_pefts_own(case: LoraCase, alone: list[Row]) -> None:
    case.check_moved(alone)
    print(f"{case.base.shape.architecture}: at most {case.check_peft(alone):.1e}")


def test_a_mixed_batch_gives_each_request_what_it_gets_alone(case: LoraCase, alone: list[Row]) -> None:
    case.check_mixed(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization)
    alone = case.alone()
    case.check_moved(alone)
    case.check_mixed(alone)


@pytest.mark.parametrize("left", [1.0, 0.5, 1e-1, 1e-2, 2e-3, 5e-4, 1e-5, 1e-7])
@pytest.mark.parametrize("rows", [40, 2500])
def test_norms_hold_however_much_of_the_weight_is_cancelled(left: float, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(8, 48, generator=generator)
    b = torch.randn(rows, 8, generator=generator)
    rest = torch.randn(rows, 48, generator=generator)
    weight = -(b.double() @ a.double()) + left * rest.double()
    weight = weight.float()
    squares = weight.double().square().sum(dim=1)
    expected = (weight.double() + b.double() @ a.double()).norm(dim=1)
    found = row_norms(squares, weight, a, b)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_a_nearly_cancelled_weight_is_served_as_pefts(tmp_path: Path) -> None:
    """B A takes 99 % of one layer's queries away; what is left has to carry the magnitude."""
    options = {"use_dora": True, "target_modules": ["0.self_attn.q_proj"], "r": 64, "lora_alpha": 64}
    case = LoraCase.make("llama", {"cancelling": options}, tmp_path)
    case.cancel("model.layers.0.self_attn.q_proj", share=0.99)
    alone = case.alone()
    case.check_moved(alone)
    print(f"at most {case.check_peft(alone):.1e}")
