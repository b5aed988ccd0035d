"""A run that is resumed goes on as if nothing had been: the same losses, the same adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import PEFT_SAYS
from run_cases import run_in, save_colors
from safetensors.torch import load_file

from adapterhub.adapter import TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainResult
from adapterhub.train.result import RunStopped

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
    return save_colors(tmp_path / "colors.jsonl")


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
    name, options, rate = METHODS[method]
    settings: dict[str, Any] = {"method": name, "options": options, "learning_rate": rate}
    whole = run_in(tmp_path / "whole", base, data, **settings)
    for until in (3, 5):
        with pytest.raises(RunStopped, match=f"stopped after step {until} of 9"):
            run_in(tmp_path / "parts", base, data, until=until, resume=until == 5, **settings)
    resumed = run_in(tmp_path / "parts", base, data, resume=True, **settings)
    assert len(set(whole.losses)) == 9
    assert_same(whole, resumed)


def test_a_run_that_had_made_all_its_steps_ends_as_it_would_have(base: BaseModel, data: Path, tmp_path: Path) -> None:
    """It was killed between its last checkpoint and the adapter; an early end counts as one."""
    early: dict[str, Any] = {"patience": 1, "validate_every": 1, "learning_rate": 1.0}
    for settings in ({}, early):
        place = tmp_path / str(len(settings))
        whole = run_in(place, base, data, **settings)
        assert bool(settings) == (len(whole.losses) < 9)
        kept = tensors(whole)
        again = run_in(place, base, data, resume=True, **settings)
        assert again.history == whole.history
        assert (again.validations, again.best_step) == (whole.validations, whole.best_step)
        assert all(torch.equal(tensors(again)[name], tensor) for name, tensor in kept.items())


def test_without_a_checkpoint_a_resumed_run_begins_at_its_beginning(
    base: BaseModel, data: Path, tmp_path: Path
) -> None:
    whole = run_in(tmp_path / "whole", base, data)
    with pytest.raises(RunStopped):
        run_in(tmp_path / "parts", base, data, until=1)
    for checkpoint in (tmp_path / "parts" / "checkpoints").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    assert_same(whole, run_in(tmp_path / "parts", base, data, resume=True))


def test_a_checkpoint_that_is_not_whole_is_passed_over(base: BaseModel, data: Path, tmp_path: Path) -> None:
    whole = run_in(tmp_path / "whole", base, data)
    with pytest.raises(RunStopped):
        run_in(tmp_path / "parts", base, data, until=5)
    checkpoints = tmp_path / "parts" / "checkpoints"
    assert sorted(path.name for path in checkpoints.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    torn = checkpoints / "checkpoint-5" / "optimizer.pt"
    torn.write_bytes(torn.read_bytes()[:-10])
    (checkpoints / "checkpoint-7").mkdir()  # nothing in it says that it is whole
    assert_same(whole, run_in(tmp_path / "parts", base, data, resume=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, "batch_size: 4 is asked for, the run began with 3; it is resumed with its own settings"),
        ({"seed": 1}, "seed: 1 is asked for, the run began with 0"),
        ({"options": {"r": 5}}, r"options: {'r': 5} is asked for, the run began with {'r': 4, 'lora_dropout': 0.3}"),
        ({"learning_rate": None}, "learning_rate: 0.0002 is asked for, the run began with 0.01"),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    base: BaseModel, data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, data, until=1)
    with pytest.raises(ConfigError, match=message):
        run_in(tmp_path / "run", base, data, resume=True, **changes)


def test_changed_data_are_refused_and_moved_data_are_not(base: BaseModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, data, until=1)
    moved = data.rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, moved, resume=True, until=2)
    moved.write_text(moved.read_text().replace("19?", "20?"))
    with pytest.raises(ConfigError, match=r"data: is not what it was when the run began \([0-9a-f]+, then [0-9a-f]+\)"):
        run_in(tmp_path / "run", base, moved, resume=True)


def test_another_base_is_refused(base: BaseModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, data, until=1)
    other = BaseModel.load(str(save_tiny_llama(tmp_path / "other", seed=5)), quantization="none", device="cpu")
    with pytest.raises(ConfigError, match="base: is not what it was when the run began"):
        run_in(tmp_path / "run", other, data, resume=True)
