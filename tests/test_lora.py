"""LoRA is served as PEFT computes it, whatever its config says, alone and in mixed batches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from lora_cases import PEFT_SAYS, LoraCase, bare
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE, read_folder
from adapterhub.base.quantize import Quantization
from adapterhub.engine import Engine
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import AdapterHubError, BaseMismatchError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import Row

pytestmark = PEFT_SAYS

ANY_FAMILY: dict[str, dict[str, Any]] = {
    "all-linear": {"lora_alpha": 12},
    "rslora": {"use_rslora": True, "r": 3},
    "saved-head": {"modules_to_save": ["lm_head"], "r": 2},
}
LLAMA: dict[str, dict[str, Any]] = {
    **ANY_FAMILY,
    "patterns": {
        "use_rslora": True,
        "rank_pattern": {"mlp.up_proj": 2, r"layers\.[01]\.self_attn.*": 6},
        "alpha_pattern": {".*v_proj": 3, "q_proj": 40},
    },
    "one-layer": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1], "lora_alpha": 32},
    "regex": {"target_modules": r".*layers\.[12]\.(self_attn|mlp)\.(o|up)_proj", "lora_alpha": 20},
    "excluding": {"exclude_modules": ["mlp.down_proj", "o_proj"]},
    "head": {"target_modules": ["lm_head"], "lora_alpha": 32},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"], "lora_alpha": 9},
    "saved-embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved-both": {"target_modules": ["k_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "saved-linear": {"target_modules": ["k_proj", "v_proj"], "modules_to_save": ["1.self_attn.v_proj"]},
    "b-bias": {"lora_bias": True, "target_modules": ["q_proj", "down_proj"]},
}
GPT2: dict[str, dict[str, Any]] = {
    **ANY_FAMILY,
    "all-biases": {"target_modules": ["c_attn"], "bias": "all"},
    "own-biases": {"target_modules": ["c_proj"], "bias": "lora_only"},
    "positions": {"target_modules": ["wte", "wpe", "c_fc"], "lora_alpha": 9},
    "saved-transposed": {"target_modules": ["c_fc"], "modules_to_save": ["attn.c_proj", "wpe"]},
    "b-bias": {"target_modules": ["c_fc"], "lora_bias": True, "bias": "all"},
}
GEMMA2: dict[str, dict[str, Any]] = {
    **ANY_FAMILY,
    "embedding": {"target_modules": ["embed_tokens"], "lora_alpha": 2},
    "saved-embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
}
RECIPES = {"llama": LLAMA, "tied": LLAMA, "gpt2": GPT2, "gemma2": GEMMA2}


@pytest.fixture(scope="module", params=RECIPES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoraCase:
    return LoraCase.make(request.param, RECIPES[request.param], tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def alone(case: LoraCase) -> list[Row]:
    return case.alone()


def test_every_adapter_moves_the_base(case: LoraCase, alone: list[Row]) -> None:
    case.check_moved(alone)


def test_served_rows_are_pefts_own(case: LoraCase, alone: list[Row]) -> None:
    worst = case.check_peft(alone)
    print(f"{case.base.shape.architecture}: at most {worst:.1e}")


def test_a_mixed_batch_gives_each_request_what_it_gets_alone(case: LoraCase, alone: list[Row]) -> None:
    report = case.check_mixed(alone)
    print(f"{case.base.shape.architecture}: at most {report.drift:.1e}, {report.ties} ties in {report.tokens} tokens")


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_on_a_quantized_base_rows_are_what_they_are_alone(quantization: Quantization, tmp_path: Path) -> None:
    case = LoraCase.make("llama", LLAMA, tmp_path, quantization=quantization)
    alone = case.alone()
    case.check_moved(alone)
    case.check_mixed(alone)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> LoraCase:
    recipes: dict[str, dict[str, Any]] = {"embedding": {"target_modules": ["embed_tokens", "q_proj"]}}
    return LoraCase.make("tied", recipes, tmp_path_factory.mktemp("tied"))


def load(case: LoraCase, folder: Path) -> None:
    with Engine(case.base) as engine:
        adapter = read_folder(folder)
        engine.load_adapter(replace(adapter, digest="sha256:under-test"))


def with_options(case: LoraCase, folder: Path, **options: Any) -> Path:
    """The case's first adapter with other options in its config."""
    source = next(iter(case.folders.values()))
    folder.mkdir()
    config = json.loads((source / CONFIG_FILE).read_text()) | options
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / TENSORS_FILE).write_bytes((source / TENSORS_FILE).read_bytes())
    return folder


def with_tensors(case: LoraCase, folder: Path, changes: dict[str, torch.Tensor]) -> Path:
    with_options(case, folder)
    save_file(load_file(folder / TENSORS_FILE) | changes, folder / TENSORS_FILE)
    return folder


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alora_invocation_tokens", [3, 4]),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("trainable_token_indices", [0, 5]),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("use_qalora", True),
        ("kasa_config", {"beta": 1e-4}),
        ("arrow_config", {"top_k": 2}),
        ("use_bdlora", {"nblocks": 2}),
        ("velora_config", {"num_groups": 2}),
        ("monteclora_config", {"num_samples": 4}),
        ("megatron_config", {"hidden_size": 4}),
        ("ensure_weight_tying", True),
        ("an_option_of_tomorrow", 1),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "lora_ga"),
        ("init_lora_weights", "a_start_of_tomorrow"),
        ("modules_to_save", ["lm_head("]),
        ("bias", "some"),
        ("r", 0),
        ("rank_pattern", {"q_proj": 0}),
        ("alpha_pattern", {"(": 3}),
        ("target_modules", "(q_proj"),
        ("target_modules", None),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(tied: LoraCase, option: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedAdapterError, match=option):
        load(tied, with_options(tied, tmp_path / "adapter", **{option: value}))


@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1, "fan_in_fan_out": True},
        {"loftq_config": {}, "corda_config": None, "megatron_core": "megatron.core", "layers_pattern": None},
    ],
)
def test_what_matters_in_training_only_is_passed_over(tied: LoraCase, options: dict[str, Any], tmp_path: Path) -> None:
    load(tied, with_options(tied, tmp_path / "adapter", **options))


def test_an_absent_alpha_is_pefts_own(tied: LoraCase) -> None:
    config = installed_methods().get("lora").Config.from_peft({"r": 4, "target_modules": ["q_proj"]}, where="test")
    assert (config.lora_alpha, config.scaling("q_proj")) == (peft.LoraConfig().lora_alpha, 2.0)


def test_a_larger_vocabulary_is_refused_by_key_and_shapes(tied: LoraCase, tmp_path: Path) -> None:
    key = "base_model.model.model.embed_tokens"
    grown = {f"{key}.lora_embedding_A": torch.ones(4, 260)}
    with pytest.raises(BaseMismatchError, match=r"lora_embedding_A: the file has \(4, 260\), the plan \(4, 258\)"):
        load(tied, with_tensors(tied, tmp_path / "grown", grown))
    whole = {"base_model.model.lm_head.weight": torch.ones(260, 64)}
    with pytest.raises(BaseMismatchError, match=r"lm_head\.weight: not in the plan, the file has \(260, 64\)"):
        load(tied, with_tensors(tied, tmp_path / "whole", whole))


def test_the_table_peft_saves_beside_an_embedding_must_be_the_bases(tied: LoraCase, tmp_path: Path) -> None:
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    own = tied.base.weights.weight("model.embed_tokens")
    load(tied, with_tensors(tied, tmp_path / "same", {key: own.clone()}))
    with pytest.raises(AdapterHubError, match=r"model\.embed_tokens: the adapter brings a table of its own"):
        load(tied, with_tensors(tied, tmp_path / "other", {key: own + 0.01}))
    with pytest.raises(BaseMismatchError, match=r"base_layer\.weight: the file has \(260, 64\), the plan \(258, 64\)"):
        load(tied, with_tensors(tied, tmp_path / "grown", {key: torch.ones(260, 64)}))


# PEFT says that it adds the base's table to the file.
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_an_embedding_update_as_peft_saves_it_is_served(tied: LoraCase, tmp_path: Path) -> None:
    chosen = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["embed_tokens", "q_proj"])
    get_peft_model(bare("tied"), chosen).save_pretrained(str(tmp_path / "adapter"))
    assert any(key.endswith("base_layer.weight") for key in read_folder(tmp_path / "adapter").tensors)
    load(tied, tmp_path / "adapter")


def test_a_whole_head_counts_its_bytes(tmp_path: Path) -> None:
    recipes: dict[str, dict[str, Any]] = {
        "without": {"target_modules": ["q_proj"]},
        "with": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    }
    case = LoraCase.make("tied", recipes, tmp_path)
    methods = installed_methods()
    both = (prepare(one, one.read_tensors(), methods, case.base) for one in case.adapters.values())
    without, with_head = both
    assert with_head.nbytes - without.nbytes == 258 * 64 * 4
