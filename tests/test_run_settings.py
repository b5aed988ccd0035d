"""How the steps are made: what was given, or what the method says; and nothing else decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training import train_briefly

from adapterhub.adapter import TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, TrainResult, train
from adapterhub.train.choice import Choice
from adapterhub.train.defaults import FROM_METHOD, with_defaults

OPTIONS: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "down_proj"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return BaseModel.load(str(save_tiny_llama(tmp_path_factory.mktemp("tiny"))), quantization="none", device="cpu")


def run(base: BaseModel, into: Path, *, method: str = "lora", **settings: Any) -> TrainResult:
    values = {"options": OPTIONS if method == "lora" else {}, **settings}
    return train_briefly(base, method, into, rate=settings.pop("learning_rate", 1e-2), **values)


def tensors(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.folder / TENSORS_FILE)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 2), (2, 4), (1, 8)])
def test_a_step_of_several_batches_is_that_of_one_big_batch(
    base: BaseModel, tmp_path: Path, batch_size: int, accumulate: int
) -> None:
    """The mean over all learned tokens of the step, though batches have different numbers of them."""
    whole = run(base, tmp_path / "whole", batch_size=8, max_steps=4)
    parts = run(base, tmp_path / "parts", batch_size=batch_size, accumulate=accumulate, max_steps=4)
    assert parts.losses == pytest.approx(whole.losses, abs=1e-6)
    assert parts.tokens == whole.tokens
    for name, tensor in tensors(whole).items():
        torch.testing.assert_close(tensors(parts)[name], tensor, atol=1e-5, rtol=0)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(base: BaseModel, tmp_path: Path) -> None:
    result = run(base, tmp_path / "out", batch_size=5, accumulate=2, epochs=2)
    assert len(result.losses) == 6  # 24 examples: five batches, three steps an epoch
    assert result.history[-1].total == 6


def test_the_same_seed_gives_the_same_tensors_and_another_does_not(base: BaseModel, tmp_path: Path) -> None:
    options = OPTIONS | {"lora_dropout": 0.2}
    one, same = (run(base, tmp_path / name, options=options, seed=3) for name in ("one", "same"))
    other = run(base, tmp_path / "other", options=options, seed=4)
    assert one.losses == same.losses
    assert (one.folder / TENSORS_FILE).read_bytes() == (same.folder / TENSORS_FILE).read_bytes()
    assert (one.folder / TENSORS_FILE).read_bytes() != (other.folder / TENSORS_FILE).read_bytes()


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("constant", 0.0, [1, 1, 1, 1]),
        ("constant", 0.5, [0, 0.5, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25]),
        ("linear", 0.5, [0, 0.5, 1, 0.5]),
        ("cosine", 0.0, [1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_learning_rate_goes_as_the_schedule_says(
    base: BaseModel, tmp_path: Path, schedule: str, warmup: float, rates: list[float]
) -> None:
    result = run(base, tmp_path / "out", schedule=schedule, warmup=warmup, max_steps=4)
    assert [step.learning_rate for step in result.history] == pytest.approx([1e-2 * rate for rate in rates], abs=1e-7)


def test_weight_decay_and_the_norm_of_gradients_have_their_effect(base: BaseModel, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"weight_decay": 0.5}, {"max_grad_norm": 1e-9}]
    plain, decayed, clipped = (
        run(base, tmp_path / str(index), max_steps=4, **more) for index, more in enumerate(changes)
    )
    assert plain.losses[0] == decayed.losses[0] == clipped.losses[0]
    assert plain.losses[3] != decayed.losses[3]
    assert abs(clipped.losses[3] - plain.losses[3]) > 1e-3


def test_recomputed_activations_change_no_number(base: BaseModel, tmp_path: Path) -> None:
    kept, again = (run(base, tmp_path / str(flag), max_steps=3, gradient_checkpointing=flag) for flag in (False, True))
    assert again.losses == pytest.approx(kept.losses, abs=1e-6)


def test_recomputed_activations_are_refused_where_keys_and_values_stand_in_front(tmp_path: Path) -> None:
    """Before the base is loaded."""
    folder = save_tiny_llama(tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "hidden")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "x"}) + "\n" for n in range(4)))
    for method in ("prefix_tuning", "cartridge"):
        config = TrainConfig(base=str(folder), data=data, method=method, gradient_checkpointing=True)
        with pytest.raises(ConfigError, match=f"gradient_checkpointing: not with method {method}, whose keys and"):
            train(config, tmp_path / "out")


def effective(**given: Any) -> TrainConfig:
    config = TrainConfig.load({"base": "x", "data": "y", **given}, where="test")
    choice = Choice.of(config.method, {})
    return with_defaults(config, choice.preset, choice.method)


def test_what_is_given_wins_over_the_preset_and_that_over_the_method() -> None:
    assert (effective().learning_rate, effective().schedule, effective().warmup) == (2e-4, "linear", 0.1)
    preset = effective(method="qlora")
    assert (preset.learning_rate, preset.schedule, preset.warmup, preset.max_grad_norm) == (2e-4, "constant", 0.03, 0.3)
    assert preset.gradient_checkpointing
    given = effective(method="qlora", learning_rate=5e-3, schedule="cosine", warmup=0)
    assert (given.learning_rate, given.schedule, given.warmup, given.max_grad_norm) == (5e-3, "cosine", 0, 0.3)
    assert effective(method="ia3").learning_rate == 8e-3
    assert effective(method="prompt_tuning").epochs == 10


def test_nothing_is_left_open_whatever_the_method_and_every_default_has_its_source() -> None:
    methods = installed_methods()
    for name in [*methods.by_name, *methods.presets]:
        options = {"token_indices": [1]} if name == "trainable_tokens" else {}
        choice = Choice.of(name, options)
        config = with_defaults(TrainConfig(base="x", data=Path("y"), method=name), choice.preset, choice.method)
        assert all(getattr(config, field) is not None for field in FROM_METHOD), name
        assert methods.get(methods.for_training(name).method).training_defaults.source


def test_the_record_says_what_was_used_not_only_what_was_given(base: BaseModel, tmp_path: Path) -> None:
    provenance = run(base, tmp_path / "out", max_steps=1).adapter.provenance
    assert provenance is not None
    used = {name: provenance.training[name] for name in ("learning_rate", "schedule", "warmup", "accumulate")}
    assert used == {"learning_rate": 1e-2, "schedule": "linear", "warmup": 0.1, "accumulate": 1}
