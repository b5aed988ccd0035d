"""A run that is resumed goes on as if nothing had been: the same losses, the same adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import PEFT_SAYS
from safetensors.torch import load_file

from adapterhub.adapter import TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, TrainResult, train
from adapterhub.train.result import Event, RunStopped
from adapterhub.train.run_folder import RunFolder

METHODS: dict[str, tuple[str, dict[str, Any], float]] = {
    "lora": ("lora", {"r": 4, "lora_dropout": 0.3}, 1e-2),
    "p_tuning": ("p_tuning", {"num_virtual_tokens": 4}, 1e-2),
    "p_tuning LSTM": (
        "p_tuning",
        {"num_virtual_tokens": 4, "encoder_reparameterization_type": "LSTM", "encoder_dropout": 0.2},
        1e-2,
    ),
    "prefix_tuning": ("prefix_tuning", {"num_virtual_tokens": 4, "prefix_projection": True}, 1e-2),
    "adalora": ("adalora", {"init_r": 4, "target_r": 2, "lora_dropout": 0.2, "tinit": 1, "tfinal": 2}, 5e-2),
    "bottleneck": ("bottleneck", {"reduction_factor": 4}, 1e-2),
    "pissa": ("lora", {"r": 4, "init_lora_weights": "pissa"}, 1e-2),
    "whole modules": ("lora", {"r": 4, "modules_to_save": ["lm_head"], "lora_dropout": 0.1}, 1e-2),
}

pytestmark = [*PEFT_SAYS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return BaseModel.load(str(save_tiny_llama(tmp_path_factory.mktemp("tiny"))), quantization="none", device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "colors.jsonl"
    pairs = [
        {"prompt": f"{number}?", "completion": ("red", "blue")[number % 2] * (1 + number % 3)} for number in range(20)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def run(
    base: BaseModel, data: Path, place: Path, method: str = "lora", *, until: int | None = None, **settings: Any
) -> TrainResult:
    """Nine steps of three epochs, or the first `until` of them; goes on where the folder has a run already."""
    name, options, rate = METHODS[method]
    values = {"base": "given", "data": data, "method": name, "options": options, "learning_rate": rate}
    usual = {"batch_size": 3, "accumulate": 2, "checkpoint_every": 2, "prompt_format": "raw", "patience": 0}
    config = TrainConfig.load(values | usual | settings, where="test")
    seen: list[Event] = []
    with RunFolder.open(place, resume=(place / "run.json").exists()) as folder:
        return train(
            config,
            folder.adapter,
            base=base,
            folder=folder,
            watch=seen.append,
            stop=lambda: bool(until and _step(seen) + 1 >= until),
        )


def _step(seen: list[Event]) -> int:
    return max((event.step for event in seen), default=0)


def tensors(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.folder / TENSORS_FILE)


def assert_same(one: TrainResult, other: TrainResult) -> None:
    assert one.losses == other.losses
    assert one.validations == other.validations
    assert one.best_step == other.best_step
    assert (one.loss_before, one.loss_after) == (other.loss_before, other.loss_after)
    assert one.tokens == other.tokens
    assert [step.learning_rate for step in one.history] == [step.learning_rate for step in other.history]
    assert one.adapter.config == other.adapter.config
    kept, again = tensors(one), tensors(other)
    assert kept.keys() == again.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_stopped_twice_ends_as_one_that_was_not(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    """At the end of an epoch, and within the next one."""
    whole = run(base, data, tmp_path / "whole", method)
    for until in (3, 5):
        with pytest.raises(RunStopped, match="stopped after step"):
            run(base, data, tmp_path / "parts", method, until=until)
    resumed = run(base, data, tmp_path / "parts", method)
    assert len(whole.losses) == 9
    assert len(set(whole.losses)) == 9
    assert_same(whole, resumed)
