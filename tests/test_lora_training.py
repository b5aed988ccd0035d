"""Training with what LoRA's config offers: the base is given back to the bit, the file is what serving plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import PEFT_SAYS, save_bare
from peft import PeftModel
from training import assert_trains, train_briefly
from transformers import AutoModelForCausalLM

from adapterhub.adapter import CONFIG_FILE
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced

pytestmark = PEFT_SAYS

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"use_dora": True}),
    ("llama", {"lora_bias": True}),
    ("llama", {"rank_pattern": {"q_proj": 2, ".*proj": 3}, "alpha_pattern": {"v_proj": 5}}),
    ("llama", {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 2]}),
    ("llama", {"exclude_modules": ["o_proj"], "bias": "all"}),
    ("tied", {"target_modules": ["embed_tokens", "q_proj"]}),
    ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    ("gpt2", {"target_modules": ["c_attn"], "bias": "all"}),
    ("gpt2", {"target_modules": ["c_attn", "wpe"], "bias": "lora_only"}),
    ("gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["c_fc"]}),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_bare(family, folder / family) for family in ("llama", "tied", "gpt2")}


@pytest.fixture
def llama(bases: dict[str, Path]) -> BaseModel:
    return BaseModel.load(str(bases["llama"]), quantization="none", device="cpu")


@pytest.mark.parametrize(("family", "options"), KINDS, ids=lambda value: str(value).replace("'", ""))
def test_training_gives_what_is_served(
    family: str, options: dict[str, Any], bases: dict[str, Path], tmp_path: Path
) -> None:
    base = BaseModel.load(str(bases[family]), quantization="none", device="cpu")
    assert_trains(base, "lora", tmp_path / "run" / "out", rate=1e-2, options=options)


@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "pissa", "r": 4},
        {"init_lora_weights": "pissa_niter_4", "r": 4, "use_rslora": True},
        {"init_lora_weights": "olora", "r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 5}},
        {"init_lora_weights": "corda", "r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 5}},
    ],
    ids=lambda options: options["init_lora_weights"],
)
def test_a_start_that_rewrites_the_base_is_saved_for_the_original(
    options: dict[str, Any], bases: dict[str, Path], llama: BaseModel, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in llama.model.state_dict().items()}
    result = train_briefly(llama, "lora", tmp_path / "out", rate=1e-2, options=options)
    assert all(torch.equal(llama.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert result.loss_after is not None
    assert result.loss_before is not None
    assert result.loss_after < 0.95 * result.loss_before
    config = json.loads((tmp_path / "out" / CONFIG_FILE).read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 8)

    plain = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    reference = PeftModel.from_pretrained(plain, str(tmp_path / "out")).eval()
    request = greedy(range(40, 60), "sha256:converted", 6)
    adapter = replace(result.adapter, digest="sha256:converted")
    with recording_engine(llama, {"sha256:converted": adapter}) as (engine, recorder):
        row = run(engine, recorder, [request])[0]
    torch.testing.assert_close(row.logits, teacher_forced(reference, request, row), atol=1e-4, rtol=0)


@pytest.mark.parametrize("start", ["pissa", "olora", "corda"])
def test_a_start_that_rewrites_the_base_changes_nothing_by_itself(start: str, llama: BaseModel, tmp_path: Path) -> None:
    """Converted, an adapter that learned next to nothing is next to nothing on the original base."""
    result = train_briefly(llama, "lora", tmp_path / "out", rate=1e-9, options={"init_lora_weights": start, "r": 4})
    assert result.loss_after == pytest.approx(result.loss_before, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("llama", {"target_modules": ["q_proj", "query"]}, "target_modules: 'query' matches no .*: down_proj"),
        ("llama", {"target_modules": []}, "target_modules"),
        ("llama", {"modules_to_save": ["classifier"]}, "modules_to_save: 'classifier' matches no module .*lm_head"),
        ("llama", {"rank_pattern": {"query": 4}}, "rank_pattern: 'query' matches no module"),
        ("llama", {"rank_pattern": {"q_proj": 5000}}, "rank_pattern: 'q_proj' has 5000; accepted: 1 to 4096"),
        ("llama", {"alpha_pattern": {"q_proj": 0}}, "alpha_pattern: 'q_proj' has 0.*; accepted: greater than 0"),
        ("llama", {"init_lora_weights": "eva"}, "init_lora_weights: accepted: true, false, .*, loftq .*'eva'"),
        ("llama", {"init_lora_weights": "loftq"}, "'loftq' makes up for what nf4 loses and needs quantization=nf4"),
        ("llama", {"init_lora_weights": "corda", "use_dora": True}, "'corda' does not go with use_dora"),
        ("llama", {"init_lora_weights": "corda", "corda_config": {"corda_method": "new"}}, "corda_config.*'ipm' or"),
        ("llama", {"corda_config": {"corda_method": "kpm"}}, "corda_config needs init_lora_weights=corda"),
        ("llama", {"init_lora_weights": "pissa", "use_dora": True}, "'pissa' does not go with use_dora"),
        ("llama", {"init_lora_weights": "olora", "modules_to_save": ["lm_head"]}, "does not go with modules_to_save"),
        ("llama", {"init_lora_weights": "olora", "r": 33, "target_modules": ["k_proj"]}, r"r: 33 at .* at most 32"),
        ("llama", {"init_lora_weights": "pissa", "target_modules": ["lm_head"]}, "does not go with lm_head"),
        ("gpt2", {"init_lora_weights": "olora"}, "'olora' does not know transposed layers"),
        ("llama", {"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
        ("llama", {"layers_to_transform": [0]}, "layers_to_transform needs target_modules as a list"),
        ("llama", {"lora_bias": True, "use_dora": True}, "lora_bias=true does not go with use_dora=true"),
        ("llama", {"target_modules": "(q_proj"}, "target_modules: not a regular expression"),
    ],
)  # fmt: skip
def test_what_would_train_nothing_or_could_not_be_saved_is_named(
    family: str, options: dict[str, Any], message: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = BaseModel.load(str(bases[family]), quantization="none", device="cpu")
    with pytest.raises(ConfigError, match=message):
        train_briefly(base, "lora", tmp_path / "out", rate=1e-2, options=options)


def test_a_quantized_weight_is_neither_rewritten_nor_trained_whole(bases: dict[str, Path], tmp_path: Path) -> None:
    base = BaseModel.load(str(bases["llama"]), quantization="nf4", device="cpu")
    with pytest.raises(ConfigError, match=r"init_lora_weights: 'pissa' rewrites the base .*quantization=none"):
        train_briefly(base, "lora", tmp_path / "a", rate=1e-2, options={"init_lora_weights": "pissa"})
    with pytest.raises(ConfigError, match=r"modules_to_save: .*up_proj is held as nf4"):
        train_briefly(base, "lora", tmp_path / "b", rate=1e-2, options={"modules_to_save": ["up_proj"]})
    assert_trains(base, "lora", tmp_path / "c" / "out", rate=1e-2, options={"modules_to_save": ["lm_head"]})


def test_the_saved_config_leaves_out_what_old_releases_of_peft_do_not_know(llama: BaseModel, tmp_path: Path) -> None:
    train_briefly(llama, "lora", tmp_path / "out", rate=1e-2, max_steps=1)
    config = json.loads((tmp_path / "out" / CONFIG_FILE).read_text())
    assert config.keys() >= {"r", "lora_alpha", "target_modules", "bias"}
    assert not config.keys() & {"lora_bias", "exclude_modules", "use_dora", "rank_pattern", "modules_to_save"}
