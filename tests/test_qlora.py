"""QLoRA trains LoRA over an NF4 base and leaves a plain LoRA adapter behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import save_bare
from training import assert_trains, train_briefly

from adapterhub.adapter import CONFIG_FILE
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import greedy, recording_engine, run
from adapterhub.train import TrainConfig, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bare("llama", tmp_path_factory.mktemp("qlora") / "base")


@pytest.fixture
def base(folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization="nf4", device="cpu")


def test_it_leaves_a_plain_lora_adapter_with_its_quantization(base: BaseModel, tmp_path: Path) -> None:
    result = assert_trains(base, "qlora", tmp_path / "run" / "out", rate=1e-2, options={"r": 4})
    config = json.loads((result.folder / CONFIG_FILE).read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    provenance = result.adapter.provenance
    assert provenance is not None
    assert (provenance.method, provenance.quantization) == ("lora", "nf4")
    assert provenance.training["preset"] == "qlora"


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_its_adapter_is_served_as_lora(quantization: Any, base: BaseModel, folder: Path, tmp_path: Path) -> None:
    result = train_briefly(base, "qlora", tmp_path / "out", rate=1e-2, options={"use_dora": True}, max_steps=2)
    served = BaseModel.load(str(folder), quantization=quantization, device="cpu")
    adapters = {"sha256:q": replace(result.adapter, digest="sha256:q")}
    with recording_engine(served, adapters) as (engine, recorder):
        row, bare = run(engine, recorder, [greedy(range(40, 52), name, 4) for name in ("sha256:q", "")])
    assert float((row.logits[0] - bare.logits[0]).abs().max()) > 0.01


def test_checkpoints_change_no_number(base: BaseModel, tmp_path: Path) -> None:
    steps: dict[str, Any] = {"max_steps": 4, "schedule": "linear", "warmup": 0.1, "max_grad_norm": 1}
    kept = train_briefly(base, "lora", tmp_path / "lora", rate=1e-2, **steps)
    checkpointed = train_briefly(base, "qlora", tmp_path / "qlora", rate=1e-2, **steps)
    assert checkpointed.losses == pytest.approx(kept.losses, abs=1e-6)
    for key, tensor in checkpointed.adapter.read_tensors().items():
        torch.testing.assert_close(tensor, kept.adapter.read_tensors()[key], atol=1e-6, rtol=1e-4)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in base.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.model.modules())


def test_its_base_is_nf4_unless_another_is_given_which_is_refused(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n')
    settings = {"base": str(folder), "data": data, "method": "qlora", "prompt_format": "raw", "max_steps": 1}
    result = train(TrainConfig.load(settings, where="test"), tmp_path / "out")
    assert result.adapter.provenance is not None
    assert result.adapter.provenance.quantization == "nf4"
    with pytest.raises(ConfigError, match="quantization: qlora needs a base held as nf4, not 'none'"):
        train(TrainConfig.load({**settings, "quantization": "none"}, where="test"), tmp_path / "other")
    floating = BaseModel.load(str(folder), quantization="none", device="cpu")
    with pytest.raises(ConfigError, match="quantization: qlora needs a base held as nf4"):
        train(TrainConfig.load(settings, where="test"), tmp_path / "other", base=floating)


def test_the_preset_serves_nothing_itself() -> None:
    methods = installed_methods()
    assert "qlora" in methods.presets
    assert "qlora" not in methods.by_name
    assert methods.for_peft_type("LORA").name == "lora"
    assert methods.for_training("qlora").method == "lora"
    assert methods.for_training("lora").quantization is None
