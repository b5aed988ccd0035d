"""LN tuning: norms of all forms are served as PEFT computes them, and what is no such norm is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_ln_tuning.norm_form import NormForm, norm_form
from lora_cases import SIZES, LoraCase, bare
from torch import nn
from training import assert_trains
from transformers import AutoModelForCausalLM, Qwen3Config
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.base.shape import shape_of
from adapterhub.base.weights_view import WeightsView
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama

LN_TUNING = installed_methods().get("ln_tuning")
LLAMA: dict[str, dict[str, Any]] = {
    "all": {},
    "names": {"target_modules": ["input_layernorm", "norm"]},
    "pattern": {"target_modules": r".*layers\.[12].*norm", "exclude_modules": ["post_attention_layernorm"]},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "llama": LLAMA,
    "gpt2": {"all": {}, "last": {"target_modules": ["ln_f", "model.norm"]}},
    "gemma2": {"all": {}, "behind": {"target_modules": ["post_feedforward_layernorm"]}},
}


@pytest.mark.parametrize("family", RECIPES)
def test_served_rows_are_pefts_own_alone_and_mixed(family: str, tmp_path: Path) -> None:
    case = LoraCase.make(family, RECIPES[family], tmp_path, method="ln_tuning", scale=1.0)
    alone = case.alone()
    case.check_moved(alone)
    case.check_peft(alone)
    case.check_mixed(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization, method="ln_tuning", scale=1.0)
    alone = case.alone()
    case.check_moved(alone)
    report = case.check_mixed(alone)
    assert quantization == "nf4" or report.drift == 0


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_training_through_peft(quantization: Quantization, tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization=quantization, device="cpu")
    assert_trains(base, "ln_tuning", tmp_path / "run" / "out", rate=3e-2, options={})


@pytest.mark.parametrize(
    ("norm", "form"),
    [
        (LlamaRMSNorm(24, eps=1e-6), NormForm(1e-6, False, 0.0)),
        (Gemma3RMSNorm(24, eps=3e-5), NormForm(3e-5, False, 1.0)),
        (nn.LayerNorm(24, eps=1e-5), NormForm(1e-5, True, 0.0)),
        (nn.LayerNorm(24, eps=1e-3, bias=False), NormForm(1e-3, True, 0.0)),
        (CohereLayerNorm(24, eps=1e-5), NormForm(1e-5, True, 0.0)),  # type: ignore[no-untyped-call]
        (nn.RMSNorm(24, eps=1e-8), NormForm(1e-8, False, 0.0)),
    ],
)
def test_the_form_of_a_norm_is_found_by_what_it_computes(norm: nn.Module, form: NormForm) -> None:
    found = norm_form("norm", dict(norm.named_parameters()), WeightsView(nn.ModuleDict({"norm": norm})))
    assert found[1:] == form[1:]
    assert found.eps == pytest.approx(form.eps, rel=1e-3)


def test_asking_a_norm_leaves_a_running_base_alone() -> None:
    """Adapters load beside the steps: the engine's hooks and weights are not the loader's."""

    class Watched(LlamaRMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert norm.weight is weight, "a step that runs meanwhile would compute with another weight"
            return super().forward(x)

    norm = Watched(24)
    weight = norm.weight
    norm.register_forward_pre_hook(lambda *_: pytest.fail("a hook of the engine's was called"))
    view = WeightsView(nn.ModuleDict({"norm": norm}))
    asked = view.norm("norm", torch.eye(24), {"weight": torch.full((24,), 2.0)})
    torch.testing.assert_close(asked.diagonal(), torch.full((24,), 2 * 24**0.5), rtol=1e-4, atol=0)


class _SquashedNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(super().forward(x))


def test_a_norm_of_another_form_is_refused_by_name() -> None:
    norm = _SquashedNorm(24)
    with pytest.raises(UnsupportedAdapterError, match=r"norm: computes neither as a LayerNorm nor as an RMSNorm"):
        norm_form("norm", dict(norm.named_parameters()), WeightsView(nn.ModuleDict({"norm": norm})))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["norms"], "target_modules: 'norms' matches no norm of Llama.*; there are: input_layernorm, norm, post_att"),
        (["q_proj"], r"target_modules: model\.layers\.0\.self_attn\.q_proj of .* is of kind linear \(accepted: norm\)"),
        ("all-linear", r"target_modules: .*is of kind linear \(accepted: norm\)"),
        ("(norm", "target_modules: not a regular expression"),
    ],
)
def test_targets_that_are_no_norms_are_named(targets: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LN_TUNING.plan(LN_TUNING.Config.load({"target_modules": targets}, where="test"), shape_of(bare("llama")))


def test_norms_of_single_heads_are_left_out_by_default_and_refused_when_named() -> None:
    with torch.device("meta"):
        shape = shape_of(AutoModelForCausalLM.from_config(Qwen3Config(**SIZES)))  # type: ignore[no-untyped-call]
    assert len(LN_TUNING.plan(LN_TUNING.Config(), shape).sites) == 2 * 3 + 1
    with pytest.raises(ConfigError, match=r"target_modules: .*\.q_norm of Qwen3.* is a norm of single attention heads"):
        LN_TUNING.plan(LN_TUNING.Config(target_modules=("q_norm",)), shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["norm"], "modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] is not served"),
        ({"target_modules": None}, "target_modules"),
        ({}, "target_modules"),
    ],
)
def test_what_a_saved_config_may_not_say_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedAdapterError, match=message):
        LN_TUNING.Config.from_peft(options, where="adapter a")
