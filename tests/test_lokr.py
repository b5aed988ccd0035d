"""LoKr is served as PEFT computes it, however its two factors are kept, in no more memory than its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adapterhub_lokr.method import split
from lora_cases import LoraCase, bare
from peft.tuners.lokr.layer import factorization
from training import assert_trains

from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.base.shape import shape_of
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama

LOKR = installed_methods().get("lokr")
LLAMA: dict[str, dict[str, Any]] = {
    "two whole": {"r": 8, "alpha": 16},
    "second in two": {"r": 2, "alpha": 8},
    "both in two": {"r": 2, "alpha": 8, "decompose_both": True},
    "first in two": {"r": 3, "decompose_both": True, "decompose_factor": 16, "target_modules": ["q_proj", "up_proj"]},
    "factor": {"decompose_factor": 3, "r": 4, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"mlp.*": 20}},
    "one-layer": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1], "r": 2, "alpha": 32},
    "head": {"target_modules": ["lm_head"], "r": 5},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "llama": LLAMA,
    "gemma2": {"all-linear": {"r": 2}, "values": {"target_modules": ["v_proj"]}},
}


@pytest.mark.parametrize("family", RECIPES)
def test_served_rows_are_pefts_own_alone_and_mixed(family: str, tmp_path: Path) -> None:
    case = LoraCase.make(family, RECIPES[family], tmp_path, method="lokr", scale=0.3)
    alone = case.alone()
    case.check_moved(alone)
    case.check_peft(alone)
    case.check_mixed(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization, method="lokr", scale=0.3)
    alone = case.alone()
    case.check_moved(alone)
    report = case.check_mixed(alone)
    assert quantization == "nf4" or report.drift == 0


def test_every_pair_of_whole_and_factored_is_among_the_recipes() -> None:
    shape = shape_of(bare("llama"))
    sites = [LOKR.plan(LOKR.Config.load(options, where="test"), shape).sites for options in LLAMA.values()]
    kept = {("w1" in site.params, "w2" in site.params) for plan in sites for site in plan}
    assert kept == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize("factor", [-1, 0, 1, 2, 3, 4, 7, 16, 64, 4096])
def test_widths_are_split_as_peft_splits_them(factor: int) -> None:
    for width in [*range(1, 130), 576, 1536, 2048, 49152]:
        assert split(width, factor) == factorization(width, factor)


def test_resident_bytes_are_its_own(tmp_path: Path) -> None:
    case = LoraCase.make("llama", {"both": {"r": 2, "decompose_both": True}}, tmp_path, method="lokr")
    (adapter,) = case.adapters.values()
    resident = prepare(adapter, adapter.read_tensors(), installed_methods(), case.base)
    assert resident.nbytes == 4 * adapter.num_parameters


@pytest.mark.parametrize("start", [True, "lycoris"])
def test_training_through_peft(start: Any, tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization="none")
    options = {"r": 2, "alpha": 8, "rank_dropout": 0.1, "rank_dropout_scale": True, "init_weights": start}
    assert_trains(base, "lokr", tmp_path / "run" / "out", rate=3e-2, options=options)


@pytest.mark.parametrize(
    ("options", "quantization", "message"),
    [
        (
            {},
            "nf4",
            r"quantization: PEFT trains lokr beside floating weights, not nf4 ones \(accepted: none\)",
        ),
        ({"target_modules": ["q_proj", "query"]}, "none", "target_modules: 'query' matches no linear module"),
        ({"rank_pattern": {"query": 4}}, "none", "rank_pattern: 'query' matches no module"),
    ],
)
def test_what_cannot_be_trained_is_named(options: dict[str, Any], quantization: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LOKR.check_training(LOKR.Config.load(options, where="test"), shape_of(bare("llama")), quantization)


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
    config = LOKR.Config.load({"target_modules": targets}, where="test")
    with pytest.raises(ConfigError, match=message):
        LOKR.plan(config, shape_of(bare(family)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules_to_save": ["lm_head"]}, r"option modules_to_save=\['lm_head'\] is not served"),
        ({"decompose_factor": -2}, "decompose_factor: Input should be greater than or equal to -1"),
        ({"r": 0}, "r: Input should be greater than or equal to 1"),
        ({"target_modules": None}, "target_modules"),
    ],
)
def test_what_a_saved_config_may_not_say_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedAdapterError, match=message):
        LOKR.Config.from_peft({"target_modules": ["q_proj"], **options}, where="adapter a")
