"""OFT is served as PEFT computes it, however its rotations are made, on any base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_oft.rotation import cayley, neumann, shrunk, skew_symmetric
from lora_cases import LoraCase, bare
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor
from training import assert_trains

from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.base.shape import shape_of
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama

# PEFT says which widths a block does not divide.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid `(oft_block_size|r)` .*Adjusted:UserWarning")

OFT = installed_methods().get("oft")
LLAMA: dict[str, dict[str, Any]] = {
    "series": {"oft_block_size": 8},
    "long series": {"oft_block_size": 16, "num_cayley_neumann_terms": 9, "target_modules": ["q_proj", "down_proj"]},
    "exact": {"oft_block_size": 32, "use_cayley_neumann": False, "exclude_modules": ["o_proj"]},
    "blocks": {"r": 4, "oft_block_size": 0},
    "shared": {"oft_block_size": 8, "block_share": True},
    "constrained": {"oft_block_size": 8, "coft": True, "eps": 4.0},
    "constrained and shared": {"oft_block_size": 16, "coft": True, "eps": 1.0, "block_share": True},
    "adjusted": {"oft_block_size": 24, "target_modules": ["v_proj", "down_proj"]},
    "adjusted blocks": {"r": 3, "oft_block_size": 0, "target_modules": ["v_proj"]},
    "one-layer": {"oft_block_size": 8, "target_modules": ["q_proj"], "layers_to_transform": [1]},
    "head": {"oft_block_size": 8, "target_modules": ["lm_head"]},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "llama": LLAMA,
    "gemma2": {"all-linear": {}, "values": {"target_modules": ["v_proj"]}},
}


@pytest.mark.parametrize("family", RECIPES)
def test_served_rows_are_pefts_own_alone_and_mixed(family: str, tmp_path: Path) -> None:
    case = LoraCase.make(family, RECIPES[family], tmp_path, method="oft")
    alone = case.alone()
    case.check_moved(alone)
    case.check_peft(alone)
    case.check_mixed(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization, method="oft")
    alone = case.alone()
    case.check_moved(alone)
    report = case.check_mixed(alone)
    assert quantization == "nf4" or report.drift == 0


@pytest.mark.parametrize("terms", [2, 3, 4, 5, 6, 9, 0])
@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_rotations_are_pefts_own(terms: int, eps: float) -> None:
    """0 terms: the limit; eps 0: not constrained."""
    size, blocks = 6, 4
    options = {"use_cayley_neumann": terms > 0, "num_cayley_neumann_terms": terms, "coft": eps > 0, "eps": eps}
    module: Any = OFTRotationModule
    theirs = module(blocks, size * (size - 1) // 2, size, blocks * size, **options)
    numbers = torch.randn(theirs.weight.shape, generator=torch.Generator().manual_seed(0)) * 0.2
    numbers[0] *= 1e-3  # within the bound
    theirs.weight.data = numbers.clone()
    q = skew_symmetric(numbers)
    q = shrunk(q, eps) if eps else q
    rotation = neumann(q, terms) if terms else cayley(q)
    torch.testing.assert_close(rotation, torch.stack(_blocks(theirs.get_weight().detach(), size)))


def _blocks(diagonal: Tensor, size: int) -> list[Tensor]:
    return [diagonal[start : start + size, start : start + size] for start in range(0, len(diagonal), size)]


def test_an_exact_rotation_keeps_lengths() -> None:
    rotation = cayley(skew_symmetric(torch.randn(3, 28, generator=torch.Generator().manual_seed(0))))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(8).expand(3, 8, 8), atol=1e-5, rtol=0)


def test_resident_bytes_are_those_of_the_rotations(tmp_path: Path) -> None:
    recipes: dict[str, dict[str, Any]] = {
        "own": {"oft_block_size": 8, "target_modules": ["q_proj"]},
        "shared": {"oft_block_size": 8, "target_modules": ["q_proj"], "block_share": True},
    }
    case = LoraCase.make("llama", recipes, tmp_path, method="oft")
    methods = installed_methods()
    own, shared = (prepare(one, one.read_tensors(), methods, case.base).nbytes for one in case.adapters.values())
    assert own == 3 * 64 * 8 * 4
    assert shared == 3 * 8 * 8 * 4


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("options", [{}, {"coft": True, "eps": 1.0, "block_share": True, "use_cayley_neumann": False}])
def test_training_through_peft(quantization: Quantization, options: dict[str, Any], tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization=quantization, device="cpu")
    assert_trains(base, "oft", tmp_path / "run" / "out", rate=3e-2, options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["q_proj", "query"]}, "target_modules: 'query' matches no linear module"),
        ({"oft_block_size": 24}, r"oft_block_size: 24 does not divide the 64 inputs of model\.layers\.0\.self_attn\.q"),
        ({"oft_block_size": 0, "r": 3}, r"r: 3 does not divide the 64 inputs of model\.layers\.0\.self_attn\.q_proj"),
        ({"oft_block_size": 1}, r"oft_block_size: blocks of 1 at model\.layers\.0\.self_attn\.q_proj rotate nothing"),
    ],
)
def test_what_would_not_train_as_asked_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OFT.check_training(OFT.Config.load(options, where="test"), shape_of(bare("llama")), "none")


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
def test_modules_that_are_not_rotated_are_named(family: str, targets: Any, message: str) -> None:
    config = OFT.Config.load({"target_modules": targets}, where="test")
    with pytest.raises(ConfigError, match=message):
        OFT.plan(config, shape_of(bare(family)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules_to_save": ["lm_head"]}, r"option modules_to_save=\['lm_head'\] is not served"),
        ({"bias": "oft_only"}, "bias: Input should be 'none'"),
        ({"r": 4}, "give one of r and oft_block_size, and 0 for the other"),
        ({"oft_block_size": 0}, "give one of r and oft_block_size, and 0 for the other"),
        ({"num_cayley_neumann_terms": 1}, "num_cayley_neumann_terms: Input should be greater than or equal to 2"),
        ({"peft_version": "0.17.1"}, r"use_cayley_neumann=True of PEFT before 0\.18 \(peft_version: 0\.17\.1\)"),
        ({"peft_version": None}, r"use_cayley_neumann=True of PEFT before 0\.18 \(peft_version: None\)"),
        ({"target_modules": None}, "target_modules"),
    ],
)
def test_what_a_saved_config_may_not_say_is_named(options: dict[str, Any], message: str) -> None:
    saved = {"target_modules": ["q_proj"], "oft_block_size": 32, "peft_version": "0.21.2.dev0@abc"}
    assert OFT.Config.from_peft(saved, where="adapter a").oft_block_size == 32
    with pytest.raises(UnsupportedAdapterError, match=message):
        OFT.Config.from_peft(saved | options, where="adapter a")


def test_the_oft_of_old_releases_is_refused() -> None:
    with pytest.raises(UnsupportedAdapterError, match=r"option oft_block_size is missing: OFT of PEFT before 0\.14"):
        OFT.Config.from_peft({"target_modules": ["q_proj"], "r": 8}, where="adapter a")
