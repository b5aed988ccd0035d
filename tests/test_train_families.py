"""Training on other decoder families: module names, fused and transposed projections, and where a bottleneck sits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import FAMILIES
from transformers import AutoModelForCausalLM

from adapterhub.base import BaseModel
from adapterhub.testing import save_tokenizer
from adapterhub.train import TrainConfig, train

RUNS: dict[str, tuple[str, dict[str, Any], float]] = {
    "lora": ("lora", {}, 3e-2),
    "houlsby": ("bottleneck", {"placement": "houlsby", "reduction_factor": 4}, 3e-2),
    "pfeiffer": ("bottleneck", {"placement": "pfeiffer", "reduction_factor": 4}, 3e-2),
    "parallel": ("bottleneck", {"placement": "parallel", "reduction_factor": 4}, 3e-2),
    "ia3": ("ia3", {}, 3e-2),
    "ln_tuning": ("ln_tuning", {}, 3e-2),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 4}, 3e-2),
    "prefix_tuning": ("prefix_tuning", {"num_virtual_tokens": 4, "init_weights": "zero"}, 5e-1),
}
"""Method, options and learning rate of a short run of each."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_trains_and_leaves_the_base_as_it_was(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path / "base")  # type: ignore[no-untyped-call]
    save_tokenizer(tmp_path / "base")
    base = BaseModel.load(str(tmp_path / "base"), quantization="none", device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "yes"}) + "\n" for n in range(16)))
    for name, (method, options, rate) in RUNS.items():
        # raw: a chat is longer than the sliding windows reach, and prompt tuning would have no effect through it
        values = {"base": family, "data": data, "validation": data, "prompt_format": "raw", "epochs": 3}
        config = TrainConfig.load(values | {"method": method, "options": options, "learning_rate": rate}, where="test")
        result = train(config, tmp_path / name, base=base)
        assert result.loss_before is not None
        assert result.loss_after is not None
        assert result.loss_after < result.loss_before, name
        assert all(torch.equal(base.model.state_dict()[key], tensor) for key, tensor in before.items()), name
