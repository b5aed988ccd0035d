"""Trainable tokens: rows of the embedding table, and of a head that is tied to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lora_cases import PEFT_SAYS, LoraCase, save_bare
from safetensors.torch import load_file, save_file
from training import assert_trains

from adapterhub.adapter import TENSORS_FILE, read_folder
from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.engine import Engine
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods

TOKENS = installed_methods().get("trainable_tokens")
pytestmark = PEFT_SAYS

RECIPES: dict[str, dict[str, Any]] = {
    "few": {"token_indices": [40, 41, 200]},
    "many": {"token_indices": list(range(2, 258, 3))},
}


def case(family: str, folder: Path, quantization: Quantization = "none") -> LoraCase:
    return LoraCase.make(family, RECIPES, folder, quantization=quantization, method="trainable_tokens")


# A random adapter holds the rows of a tied table once, PEFT's own twice.
@pytest.mark.filterwarnings("ignore:Found missing adapter keys .*lm_head.trainable_tokens_delta")
@pytest.mark.parametrize("family", ["llama", "tied", "gpt2", "gemma2"])
def test_served_as_peft_computes_it(family: str, tmp_path: Path) -> None:
    made = case(family, tmp_path)
    alone = made.alone()
    made.check_mixed(alone)
    made.check_peft(alone)
    made.check_moved(alone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_row_on_a_quantized_base_is_what_it_is_alone(quantization: Quantization, tmp_path: Path) -> None:
    made = case("tied", tmp_path, quantization)
    drift = made.check_mixed(made.alone()).drift
    assert drift == 0 if quantization == "int8" else drift < 1e-4


@pytest.mark.parametrize("family", ["llama", "tied"])
def test_training_through_peft(family: str, tmp_path: Path) -> None:
    base = BaseModel.load(str(save_bare(family, tmp_path / "base")), quantization="none", device="cpu")
    options = {"token_indices": [*range(2, 258)]}
    assert_trains(base, "trainable_tokens", tmp_path / "run" / "out", rate=3e-2, options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "token_indices: .*required"),
        ({"token_indices": []}, "token_indices: .*at least 1"),
        ({"token_indices": [3, -1]}, "token_indices.1: .*greater than or equal to 0"),
        ({"token_indices": [3, 3]}, "token_indices: 3 stands twice"),
        ({"token_indices": [258]}, "token_indices: 258 is not in the table of model.embed_tokens; accepted: 0 to 257"),
        ({"token_indices": [3], "target_modules": ["q_proj"]}, "target_modules: .*q_proj .* is of kind linear"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str, tiny_base: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with pytest.raises(ConfigError, match=message):
        TOKENS.plan(TOKENS.Config.load(options, where="method trainable_tokens"), base.shape)


def test_a_head_whose_rows_differ_from_the_table_it_is_tied_to_is_refused(tmp_path: Path) -> None:
    made = case("tied", tmp_path)
    digest, folder = next(iter(made.folders.items()))
    tensors = load_file(folder / TENSORS_FILE)
    (rows,) = tensors.values()
    tensors["base_model.model.lm_head.trainable_tokens_delta"] = rows + 1
    save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})
    with (
        Engine(made.base) as engine,
        pytest.raises(UnsupportedAdapterError, match=r"differs from .*base ties"),
    ):
        engine.load_adapter(replace(read_folder(folder), digest=digest))


def test_an_adapter_that_names_no_token_is_refused() -> None:
    with pytest.raises(UnsupportedAdapterError, match="token_indices"):
        TOKENS.Config.from_peft({}, where="adapter a")
