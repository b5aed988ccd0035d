"""LoHa is served as PEFT computes it, alone and mixed, in no more memory than its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adapterhub_loha import method as loha_method
from lora_cases import LoraCase, bare
from training import assert_trains

from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.base.shape import shape_of
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama

LOHA = installed_methods().get("loha")
LLAMA: dict[str, dict[str, Any]] = {
    "all-linear": {"r": 4, "alpha": 20},
    "patterns": {
        "rank_pattern": {"mlp.up_proj": 2, r"layers\.[01]\.self_attn.*": 6},
        "alpha_pattern": {".*v_proj": 3, "q_proj": 40},
        "alpha": 16,
    },
    "one-layer": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1], "r": 3, "alpha": 32},
    "regex": {"target_modules": r".*layers\.[12]\.(self_attn|mlp)\.(o|up)_proj", "exclude_modules": ["1.mlp.up_proj"]},
    "head": {"target_modules": ["lm_head"], "r": 1},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "llama": LLAMA,
    "gemma2": {"all-linear": {"r": 4}, "values": {"target_modules": ["v_proj"]}},
}


@pytest.mark.parametrize("family", RECIPES)
def test_served_rows_are_pefts_own_alone_and_mixed(family: str, tmp_path: Path) -> None:
    case = LoraCase.make(family, RECIPES[family], tmp_path, method="loha", scale=0.4)
    alone = case.alone()
    case.check_moved(alone)
    case.check_peft(alone)
    case.check_mixed(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization, method="loha", scale=0.4)
    alone = case.alone()
    case.check_moved(alone)
    report = case.check_mixed(alone)
    assert quantization == "nf4" or report.drift == 0


def test_many_rows_are_computed_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = LoraCase.make("llama", {"all-linear": {"r": 4}}, tmp_path, method="loha", scale=0.4)
    monkeypatch.setattr(loha_method, "AT_ONCE", 5 * 4 * 64)
    case.check_peft(case.alone())


def test_resident_bytes_are_its_own(tmp_path: Path) -> None:
    case = LoraCase.make("llama", {"all-linear": {"r": 4}}, tmp_path, method="loha")
    (adapter,) = case.adapters.values()
    resident = prepare(adapter, adapter.read_tensors(), installed_methods(), case.base)
    assert resident.nbytes == 4 * adapter.num_parameters


def test_training_through_peft(tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization="none")
    options = {"r": 4, "alpha": 16, "rank_dropout": 0.1, "rank_pattern": {"v_proj": 2}}
    assert_trains(base, "loha", tmp_path / "run" / "out", rate=3e-2, options=options)


@pytest.mark.parametrize(
    ("options", "quantization", "message"),
    [
        (
            {},
            "nf4",
            r"quantization: PEFT trains loha beside floating weights, not nf4 ones \(accepted: none\)",
        ),
        ({"target_modules": ["q_proj", "query"]}, "none", "target_modules: 'query' matches no linear module"),
        ({"alpha_pattern": {"query": 4}}, "none", "alpha_pattern: 'query' matches no module"),
    ],
)
def test_what_cannot_be_trained_is_named(options: dict[str, Any], quantization: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LOHA.check_training(LOHA.Config.load(options, where="test"), shape_of(bare("llama")), quantization)


@pytest.mark.parametrize(
    ("family", "targets", "message"),
    [
        (
            "gpt2",
            "all-linear",
            r"target_modules: transformer\.h\.0\.attn\.c_attn .*of kind conv1d \(accepted: linear\)",
        ),
        ("llama", ["embed_tokens"], r"target_modules: model\.embed_tokens .*of kind embedding \(accepted: linear\)"),
    ],
)
def test_what_pefts_layers_do_not_know_is_named(family: str, targets: Any, message: str) -> None:
    config = LOHA.Config.load({"target_modules": targets}, where="test")
    with pytest.raises(ConfigError, match=message):
        LOHA.plan(config, shape_of(bare(family)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules_to_save": ["lm_head"]}, r"option modules_to_save=\['lm_head'\] is not served"),
        ({"an_option_of_tomorrow": 1}, "option an_option_of_tomorrow=1 is not served"),
        ({"r": 0}, "r: Input should be greater than or equal to 1"),
        ({"rank_pattern": {"q_proj": 5000}}, "rank_pattern: 'q_proj' has 5000; accepted: 1 to 4096"),
        ({"target_modules": None}, "target_modules"),
    ],
)
def test_what_a_saved_config_may_not_say_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedAdapterError, match=message):
        LOHA.Config.from_peft({"target_modules": ["q_proj"], **options}, where="adapter a")


def test_what_matters_in_training_only_is_passed_over() -> None:
    training = {"rank_dropout": 0.5, "module_dropout": 0.5, "init_weights": False, "use_effective_conv2d": True}
    assert LOHA.Config.from_peft({"target_modules": ["q_proj"], **training}, where="a").rank_dropout == 0
