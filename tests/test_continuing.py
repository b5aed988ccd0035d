"""`--init-from`: an adapter of any method is trained on from where it is, and its record says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import PEFT_SAYS, save_bare
from test_bridge import RATES, TRAINED
from training import train_briefly

from adapterhub.base import BaseModel
from adapterhub.store import Store
from adapterhub.train import TrainResult

pytestmark = [
    *PEFT_SAYS,
    *(pytest.mark.filterwarnings(f"ignore::{name}") for name in ("UserWarning", "RuntimeWarning")),
]

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
    *(("llama", peft_type.lower(), options) for peft_type, options in TRAINED.items()),
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


def published(result: TrainResult) -> str:
    return str(Store.default().publish(result.folder, "parent"))


@pytest.mark.parametrize(("family", "method", "options"), METHODS, ids=lambda value: str(value).replace("'", ""))
def test_it_starts_as_its_parent_and_learns_on(
    family: str, method: str, options: dict[str, Any], bases: dict[str, BaseModel], nf4: BaseModel, tmp_path: Path
) -> None:
    base = nf4 if "qlora" in method or "loftq" in options.values() else bases[family]
    rate = RATES.get(method.upper(), 0.03)
    parent = train_briefly(base, method, tmp_path / "first" / "out", rate=rate, options=options, max_steps=2)
    ref = published(parent)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    child = train_briefly(base, None, tmp_path / "second" / "out", rate=rate, init_from=ref, max_steps=2)
    record = child.adapter.provenance
    assert record is not None
    assert record.parents == (ref,)
    assert record.method == BECOMES.get(method, method)
    if "loftq" not in options.values():  # whose saved adapter is another on nf4 than it was in training
        assert record.evaluations["validation_loss_start"] == pytest.approx(parent.loss_after, abs=1e-6)
    assert record.evaluations["validation_loss_before"] == pytest.approx(parent.loss_before, abs=1e-6)
    assert child.loss_after != pytest.approx(record.evaluations["validation_loss_start"], abs=1e-6)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
