"""`--init-from` with adapters of every method that has a plugin: they start as their parents, and learn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lora_cases import PEFT_SAYS, save_bare
from training import assert_goes_on

from adapterhub.base import BaseModel

pytestmark = PEFT_SAYS

METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "lora", {}),
    ("llama", "lora", {"use_dora": True}),
    ("llama", "lora", {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 5}}),
    ("llama", "lora", {"lora_bias": True}),
    ("llama", "lora", {"init_lora_weights": "pissa", "r": 4}),
    ("llama", "lora", {"init_lora_weights": "olora", "r": 4}),
    ("llama", "lora", {"init_lora_weights": "corda", "r": 4}),
    ("tied", "lora", {"target_modules": ["embed_tokens", "q_proj"]}),
    ("tied", "lora", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("tied", "lora", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    ("gpt2", "lora", {"target_modules": ["c_attn"], "bias": "all"}),
    ("gpt2", "lora", {"target_modules": ["c_attn", "wpe"], "bias": "lora_only"}),
    ("llama", "qlora", {}),
    ("llama", "lora", {"init_lora_weights": "loftq"}),
    ("llama", "prefix_tuning", {"num_virtual_tokens": 4}),
    ("llama", "prefix_tuning", {"num_virtual_tokens": 4, "prefix_projection": True}),
    ("llama", "prompt_tuning", {"num_virtual_tokens": 4}),
    ("llama", "prompt_tuning", {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "a", "num_virtual_tokens": 4}),
    ("llama", "p_tuning", {"num_virtual_tokens": 4}),
    ("llama", "p_tuning", {"num_virtual_tokens": 4, "encoder_reparameterization_type": "LSTM"}),
    ("llama", "ia3", {}),
    ("llama", "bottleneck", {"placement": "houlsby"}),
    ("llama", "bottleneck", {"placement": "pfeiffer"}),
    ("llama", "bottleneck", {"placement": "parallel"}),
    ("llama", "ln_tuning", {}),
    ("llama", "oft", {"oft_block_size": 16}),
    ("llama", "vera", {"r": 16}),
    ("llama", "loha", {"r": 4}),
    ("llama", "lokr", {"r": 4}),
    ("llama", "adalora", {}),
    ("tied", "trainable_tokens", {"token_indices": [5, 6, 50, 82, 101]}),
]
BECOMES = {"p_tuning": "prompt_tuning", "qlora": "lora"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_bare(family, folder / family) for family in ("llama", "tied", "gpt2")}


@pytest.fixture(scope="module")
def bases(folders: dict[str, Path]) -> dict[str, BaseModel]:
    return {name: BaseModel.load(str(path), quantization="none", device="cpu") for name, path in folders.items()}


@pytest.fixture(scope="module")
def nf4(folders: dict[str, Path]) -> BaseModel:
    return BaseModel.load(str(folders["llama"]), quantization="nf4", device="cpu")


@pytest.mark.parametrize(("family", "method", "options"), METHODS, ids=lambda value: str(value).replace("'", ""))
def test_it_starts_as_its_parent_and_learns_on(
    family: str, method: str, options: dict[str, Any], bases: dict[str, BaseModel], nf4: BaseModel, tmp_path: Path
) -> None:
    base = nf4 if "qlora" in method or "loftq" in options.values() else bases[family]
    child = assert_goes_on(base, method, tmp_path, rate=0.03, options=options)
    assert child.adapter.method_name == BECOMES.get(method, method)
