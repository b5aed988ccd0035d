"""Preference tuning: dpo, kto and orpo through TRL, over adapters of every kind."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from preferences import at_the_start, colors, config, log_prob, rated, write
from torch.nn.functional import logsigmoid

from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError, DataError
from adapterhub.prompt_format import Turn
from adapterhub.train import TrainStep, train
from adapterhub.train.attach import attached
from adapterhub.train.job import TrainJob

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4},
    "ia3": {},
    "bottleneck": {},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


def test_the_ids_trained_on_are_those_that_serving_has(base: BaseModel, tmp_path: Path) -> None:
    turns: list[Turn] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
    prompt: list[Turn] = [*turns, {"role": "user", "content": "color?"}]
    data = write(
        tmp_path / "d.jsonl",
        [
            {"prompt": prompt, "chosen": "red", "rejected": "blue"},
            {"prompt": "and?", "chosen": "red", "rejected": "blue"},
        ],
    )
    with at_the_start(base, config(base, data, "dpo", prompt_format="chat"), tmp_path) as (run, trainer):
        prompt_format, tokenizer = run.encoder.prompt_format, run.encoder.tokenizer
        turned, plain = trainer.train_dataset
        assert turned["prompt_ids"] == prompt_format.encode_turns(tokenizer, prompt)
        assert plain["prompt_ids"] == prompt_format.encode_prompt(tokenizer, "and?")
        assert plain["chosen_ids"] == [*tokenizer("red")["input_ids"], tokenizer.eos_token_id]
        batch = trainer.data_collator([plain])
        assert batch["input_ids"][0].tolist()[: len(plain["prompt_ids"]) + 4] == (
            plain["prompt_ids"] + plain["chosen_ids"]
        )


@pytest.mark.parametrize("method", METHODS)
def test_dpo_starts_at_log_2_and_its_reference_stands_still(base: BaseModel, tmp_path: Path, method: str) -> None:
    settings = config(base, colors(tmp_path / "d.jsonl"), "dpo", method, options=METHODS[method])
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        assert list(run.model.peft_config) == ["default"]
        rows = [dict(row) for row in trainer.train_dataset]
        for row in rows[:3]:  # as by the logits of the row alone, with the adapter as it starts
            for which in ("chosen", "rejected"):
                expected = log_prob(run.model, row["prompt_ids"], row[f"{which}_ids"])
                assert row[f"ref_{which}_logps"] == pytest.approx(float(expected), abs=2e-4)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)

        trainer.train()
        assert [dict(row) for row in trainer.train_dataset] == rows
        losses = []
        for row in rows:
            moved = [
                log_prob(run.model, row["prompt_ids"], row[f"{which}_ids"]) - row[f"ref_{which}_logps"]
                for which in ("chosen", "rejected")
            ]
            losses.append(-logsigmoid(0.1 * (moved[0] - moved[1])))
        after = trainer.evaluate()["eval_loss"]
        assert after == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)
        assert after < math.log(2) - 1e-5
        assert trainer.state.num_input_tokens_seen > 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"init_lora_weights": "pissa"}),
        ("lora", {"init_lora_weights": "corda"}),
        ("bottleneck", {}),
        ("prompt_tuning", {"num_virtual_tokens": 3}),
    ],
)
def test_the_chosen_answers_gain_and_the_base_is_given_back(
    base: BaseModel, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    configs = [base.model.config.to_dict(), base.model.generation_config.to_dict()]
    steps: list[TrainStep] = []
    settings = config(base, colors(tmp_path / "d.jsonl"), "dpo", method, options=options, max_steps=8)
    result = train(settings, tmp_path / "out", base=base, progress=steps.append)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [base.model.config.to_dict(), base.model.generation_config.to_dict()] == configs
    assert "forward" not in vars(base.model)
    assert base.model.training is False
    assert [step.step for step in steps] == list(range(1, 9))
    assert result.loss_before == pytest.approx(math.log(2), abs=1e-5)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < result.loss_before
    assert {header.dtype for header in result.adapter.tensors.values()} == {"F32"}
    provenance = result.adapter.provenance
    assert provenance is not None
    assert provenance.training["objective"] == "dpo"
    assert provenance.training["objective_options"]["beta"] == 0.1
    loaded = PeftModel.from_pretrained(copy.deepcopy(base.model), tmp_path / "out")
    assert isinstance(loaded, PeftModel)


def test_the_methods_own_loss_is_in_the_steps_and_not_in_the_validation(base: BaseModel, tmp_path: Path) -> None:
    settings = config(base, colors(tmp_path / "d.jsonl"), "dpo", "adalora")
    result = train(settings, tmp_path / "out", base=base)
    assert result.loss_before == pytest.approx(math.log(2), abs=1e-6)
    assert result.loss_after is not None
    assert result.loss_after < math.log(2)
    assert result.losses[0] > 1  # AdaLoRA's orthogonality


def test_the_methods_own_loss_counts_once_in_a_step_of_several_batches(base: BaseModel, tmp_path: Path) -> None:
    settings = config(base, colors(tmp_path / "d.jsonl"), "dpo", "adalora")
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        batch = trainer._prepare_inputs(trainer.data_collator([dict(row) for row in trainer.train_dataset]))
        run.model.train()
        found = []
        for batches in (1, 4):
            trainer.current_gradient_accumulation_steps = batches
            found.append(float(trainer.compute_loss(run.model, dict(batch)).detach()))
        assert found[0] == found[1]  # both of which the trainer divides by the number of batches


def test_a_base_in_4_bits_leaves_the_start_as_it_is(tiny_base: Path, tmp_path: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="nf4", device="cpu")
    data = colors(tmp_path / "d.jsonl")
    for method in ("lora", "bottleneck"):
        settings = config(base, data, "dpo", method)
        torch.manual_seed(settings.seed)
        with attached(TrainJob.prepare(settings, base)) as model:
            start = [tensor.detach().clone() for tensor in model.parameters() if tensor.requires_grad]
        with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
            learned = [tensor for tensor in run.model.parameters() if tensor.requires_grad]
            assert all(torch.equal(a, b) for a, b in zip(learned, start, strict=True))
            assert {tensor.dtype for tensor in learned} == {torch.float32}
            assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
            trainer.train()
            assert trainer.evaluate()["eval_loss"] < math.log(2)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "bottleneck"])
def test_kto_learns_from_ratings(base: BaseModel, tmp_path: Path, method: str) -> None:
    settings = config(base, rated(tmp_path / "d.jsonl"), "kto", method, max_steps=8)
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        rows = [dict(row) for row in trainer.train_dataset]
        for i, row in enumerate(rows[:4]):  # a batch, whose completions are moved on by one
            assert row["KL_completion_ids"] == rows[(i - 1) % 4]["completion_ids"]
            for name, answer in (("ref_logps", "completion_ids"), ("ref_KL_logps", "KL_completion_ids")):
                expected = log_prob(run.model, row["prompt_ids"], row[answer])
                assert row[name] == pytest.approx(float(expected), abs=2e-4)
        assert [row["prompt_ids"] for row in rows] != [row["prompt_ids"] for row in run.job.train]  # shuffled
        assert trainer.evaluate()["eval_loss"] == pytest.approx(0.5, abs=1e-6)
        trainer.train()
        assert trainer.evaluate()["eval_loss"] < 0.4999


@pytest.mark.parametrize("method", ["lora", "prefix_tuning", "ia3"])
def test_orpo_needs_no_reference(base: BaseModel, tmp_path: Path, method: str) -> None:
    settings = config(base, colors(tmp_path / "d.jsonl"), "orpo", method, max_steps=8)
    result = train(settings, tmp_path / "out", base=base)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.999 * result.loss_before
    assert result.tokens > 0


def test_same_seed_same_result(base: BaseModel, tmp_path: Path) -> None:
    settings = config(base, colors(tmp_path / "d.jsonl"), "dpo", "lora")
    first, second = (train(settings, tmp_path / name, base=base) for name in ("first", "second"))
    assert first.losses == second.losses


def test_an_adapter_on_the_head_is_refused_before_the_base_loads(base: BaseModel, tmp_path: Path) -> None:
    data = {"dpo": colors(tmp_path / "d.jsonl"), "kto": rated(tmp_path / "r.jsonl")}
    on_head = {"target_modules": ["q_proj", "lm_head"]}
    for objective in data:
        settings = config(base, data[objective], objective, options=on_head)
        with pytest.raises(ConfigError, match=rf"objective {objective} with method lora: the adapter acts on lm_head"):
            TrainJob.prepare(settings, base)
    settings = config(base, data["dpo"], "orpo", options=on_head)
    assert TrainJob.prepare(settings, base).goal.objective.name == "orpo"  # whose trainer asks the model for logits


def test_what_cannot_be_used_is_named_with_its_line(base: BaseModel, tmp_path: Path) -> None:
    good = {"prompt": "1", "chosen": "red", "rejected": "blue"}
    with pytest.raises(DataError, match=r"d\.jsonl:2: 'chosen' and 'rejected' are the same"):
        _prepare(base, tmp_path, [good, {**good, "rejected": "red"}])
    with pytest.raises(DataError, match=r"d\.jsonl:2: 63 tokens, over max_length 16"):
        _prepare(base, tmp_path, [good, {**good, "rejected": "b" * 61}], max_length=16)
    with pytest.raises(DataError, match=r"d\.jsonl:2: .*raw text, which has no turns"):
        _prepare(base, tmp_path, [good, {**good, "prompt": [{"role": "user", "content": "1"}]}])
    with pytest.raises(DataError, match=r"d\.jsonl:1: objective dpo learns from preference pairs, not from rated"):
        _prepare(base, tmp_path, [{"prompt": "1", "completion": "red", "label": True}])


def test_options_without_effect_are_refused(base: BaseModel, tmp_path: Path) -> None:
    data = colors(tmp_path / "d.jsonl")
    with pytest.raises(ConfigError, match="label_smoothing has no effect on 'sigmoid'"):
        TrainJob.prepare(config(base, data, "dpo", objective_options={"label_smoothing": 0.1}), base)
    with pytest.raises(ConfigError, match="exo_pair needs a label_smoothing over 0"):
        TrainJob.prepare(config(base, data, "dpo", objective_options={"loss_type": "exo_pair"}), base)
    with (
        pytest.raises(ConfigError, match="batch_size: objective kto compares the answers of a batch"),
        at_the_start(base, config(base, rated(tmp_path / "r.jsonl"), "kto", batch_size=1), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "loss_type", ["hinge", "ipo", "exo_pair", "nca_pair", "robust", "apo_zero", "apo_down", "sppo_hard", "sigmoid_norm"]
)
def test_every_loss_falls(base: BaseModel, tmp_path: Path, loss_type: str) -> None:
    options: dict[str, Any] = {"loss_type": loss_type}
    if loss_type in ("exo_pair", "robust"):
        options["label_smoothing"] = 0.01
    settings = config(base, colors(tmp_path / "d.jsonl", 8), "dpo", objective_options=options)
    with at_the_start(base, settings, tmp_path) as (_, trainer):
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        assert trainer.evaluate()["eval_loss"] < before


def _prepare(base: BaseModel, tmp_path: Path, records: list[dict[str, Any]], **settings: Any) -> None:
    data = write(tmp_path / "d.jsonl", records)
    TrainJob.prepare(config(base, data, "dpo", **settings), base)
