"""Validation chooses the adapter and may end the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training import train_briefly

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, TrainResult, train
from adapterhub.train.course import Course
from adapterhub.train.result import Event, TrainEnd, Validation


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return BaseModel.load(str(save_tiny_llama(tmp_path_factory.mktemp("tiny"))), quantization="none", device="cpu")


def overfit(base: BaseModel, folder: Path, watch: Any = None, **settings: Any) -> TrainResult:
    """Trained on answers that are wrong for what is held out: the validation loss soon rises."""
    train_file, held_out = folder / "train.jsonl", folder / "held-out.jsonl"
    for path, word in ((train_file, "red"), (held_out, "blue")):
        path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": word}) + "\n" for n in range(16)))
    values = {"base": "given", "data": train_file, "validation": held_out, "learning_rate": 1e-2, "warmup": 0}
    usual = {"prompt_format": "raw", "validate_every": 2, "epochs": 20, "schedule": "constant", "options": {"r": 4}}
    config = TrainConfig.load(values | usual | settings, where="test")
    return train(config, folder / "out", base=base, watch=watch)


def test_a_run_that_gets_no_better_ends_early_and_keeps_its_best(base: BaseModel, tmp_path: Path) -> None:
    seen: list[Event] = []
    result = overfit(base, tmp_path, seen.append, patience=2)
    losses = {each.step: each.loss for each in result.validations}
    best = min(losses, key=lambda step: losses[step])
    assert len(result.losses) < 40
    assert (result.best_step, len(result.losses)) == (best, best + 4)
    assert result.loss_after == losses[best]
    assert seen[-1] == TrainEnd(best + 4, 40, "early", best)
    assert [each for each in seen if isinstance(each, Validation)] == list(result.validations)


def test_the_published_adapter_is_the_best_one_bit_for_bit(base: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "short").mkdir()
    early = overfit(base, tmp_path / "early", patience=2)
    assert early.best_step
    short = overfit(base, tmp_path / "short", patience=0, max_steps=early.best_step)
    name = "adapter_model.safetensors"
    assert (early.folder / name).read_bytes() == (short.folder / name).read_bytes()
    assert len(early.losses) > len(short.losses)
    provenance = read_folder(early.folder).provenance
    assert provenance is not None
    assert (provenance.training["best_step"], provenance.training["steps"]) == (early.best_step, len(early.losses))
    assert provenance.evaluations["validation_loss_after"] == early.loss_after


def test_without_patience_a_run_goes_to_its_end_and_keeps_its_best_all_the_same(
    base: BaseModel, tmp_path: Path
) -> None:
    result = overfit(base, tmp_path, patience=0, max_steps=12)
    assert len(result.losses) == 12
    assert [each.step for each in result.validations] == [2, 4, 6, 8, 10, 12]
    assert result.best_step
    assert result.best_step < 12


def test_it_validates_once_an_epoch_and_at_the_end_or_there_only(base: BaseModel, tmp_path: Path) -> None:
    by_epoch = train_briefly(base, "lora", tmp_path / "a", rate=1e-3, epochs=2.5)  # 24 examples, batches of 8
    assert [each.step for each in by_epoch.validations] == [3, 6, 8]
    at_the_end = train_briefly(base, "lora", tmp_path / "b", rate=1e-3, validate_every=0)
    assert [each.step for each in at_the_end.validations] == [9]
    assert at_the_end.best_step == 9


def test_an_adapter_whose_ranks_have_not_fallen_is_no_candidate(base: BaseModel, tmp_path: Path) -> None:
    options = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 3}
    result = train_briefly(base, "adalora", tmp_path / "out", rate=5e-2, options=options, validate_every=1)
    assert [each.step for each in result.validations] == list(range(1, 10))
    assert result.best_step is not None
    assert result.best_step >= 6


@pytest.mark.parametrize("greater", [False, True])
def test_better_is_what_the_objective_says(greater: bool) -> None:
    course = Course()
    values = [3.0, 2.0, 2.0, 4.0]
    better = [
        course.validated(Validation(step, value), counts=True, greater_is_better=greater)
        for step, value in enumerate(values, start=1)
    ]
    assert better == ([True, False, False, True] if greater else [True, True, False, False])
    assert course.worse == (0 if greater else 2)
