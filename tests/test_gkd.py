"""On-policy distillation through TRL: on its own answers the student comes to say what its teacher says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_distill.divergence import summed_jensen_shannon
from objective_runs import save_lines
from preferences import at_the_start, config

from adapterhub.base import BaseModel
from adapterhub.encoder import Encoder
from adapterhub.errors import ConfigError, DataError
from adapterhub.plugins import load_objectives
from adapterhub.prompt_format import PromptFormat
from adapterhub.records import Chat
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, train
from adapterhub.train.bare_base import BareBase
from adapterhub.train.job import TrainJob

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"r": 4}, 2e-2),
    "ia3": ({}, 1e-1),
    "bottleneck": ({}, 1e-2),
}

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another size with the same vocabulary."""
    return save_tiny_llama(tmp_path_factory.mktemp("teacher"), seed=5, hidden=48, layers=1)


def settings_of(base: BaseModel, teacher: Path, folder: Path, method: str = "lora", **settings: Any) -> TrainConfig:
    """Questions of several lengths."""
    data = save_lines(
        folder / "pairs.jsonl",
        ({"prompt": "?" * (1 + n % 3) + str(n), "completion": ("red", "a dark blue")[n % 2]} for n in range(8)),
    )
    asked = {"teacher": str(teacher), "max_new_tokens": 5, **settings.pop("objective_options", {})}
    options, rate = METHODS.get(method, ({}, 1e-2))
    values = {"options": options, "learning_rate": rate, **settings}
    return config(base, data, "gkd", method, objective_options=asked, **values)


def divergence_on_own_answers(run: Any, trainer: Any, teacher: Any) -> float:
    """KL(student || teacher) of each token, written out, a row by itself at a time."""
    run.model.eval()
    prompts = [row["prompt_ids"] for row in run.job.train]
    torch.manual_seed(3)
    answers = trainer._generate_single_turn(prompts, None, {})
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            both = [
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[
                    0, len(prompt) - 1 : -1
                ]
                for model in (run.model, teacher)
            ]
        q, p = (logits.log_softmax(-1) for logits in both)
        found += (q.exp() * (q - p)).sum(-1).tolist()
    return sum(found) / len(found)


@pytest.mark.parametrize("method", METHODS)
def test_on_its_own_answers_the_student_comes_closer_to_its_teacher(
    base: BaseModel, teacher: Path, tmp_path: Path, method: str
) -> None:
    settings = settings_of(base, teacher, tmp_path, method, max_steps=40, batch_size=8)
    model: Any = BaseModel.load(str(teacher), quantization="none", device="cpu").model
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        start = divergence_on_own_answers(run, trainer, model)
        trainer.train()
        end = divergence_on_own_answers(run, trainer, model)
    print(f"{method}: {start:.3f} to {end:.3f}")
    assert end < 0.8 * start


def test_a_run_leaves_its_base_as_it_was_and_tells_the_divergence(
    base: BaseModel, teacher: Path, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    configs = [base.model.config.to_dict(), base.model.generation_config.to_dict()]
    result = train(settings_of(base, teacher, tmp_path, max_steps=12), tmp_path / "out", base=base)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.95 * result.loss_before
    assert result.tokens > 0
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [base.model.config.to_dict(), base.model.generation_config.to_dict()] == configs
    record = result.adapter.provenance
    assert record is not None
    taught_by = record.training["objective_options"]["teacher"]
    assert taught_by["digest"].startswith("sha256:")
    assert str(teacher) not in str(record.training)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_answered_are_the_ids_of_serving_and_each_row_counts_by_itself(
    base: BaseModel, teacher: Path, tmp_path: Path, method: str
) -> None:
    settings = settings_of(base, teacher, tmp_path, method, batch_size=8, max_steps=2)
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        trainer.train()  # so that the adapter does something
        run.model.eval()
        inputs = trainer._prepare_inputs([{"prompt": str(number)} for number in range(8)])
        loss, entropy, count = trainer._compute_loss(run.model, inputs, None)
        total, entropies = 0.0, 0.0
        answers: list[list[int]] = []
        for row in range(8):
            prompt, answer = (
                inputs[f"{part}_ids"][row][inputs[f"{part}_mask"][row].bool()].tolist()
                for part in ("prompt", "completion")
            )
            assert prompt == run.encoder.prompt("?" * (1 + row % 3) + str(row), 1)
            answers.append(answer)
            ids = torch.tensor([prompt + answer])
            with torch.no_grad():
                both = [model(input_ids=ids, use_cache=False).logits[0] for model in (run.model, trainer.teacher_model)]
            for place in range(len(prompt) - 1, ids.shape[1] - 1):
                q, p = (logits[place].softmax(-1) for logits in both)
                middle = 0.5 * p + 0.5 * q
                total += 0.5 * float((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum())
                entropies -= float((q * q.log()).sum())
        assert len({len(row["prompt_ids"]) for row in run.job.train}) > 1  # so that TRL pads
        assert int(count) == sum(map(len, answers))
        assert float(loss.detach()) == pytest.approx(total / int(count), rel=1e-4)
        assert float(entropy) == pytest.approx(entropies, rel=1e-4)


def test_a_base_in_4_bits_with_checkpoints_and_a_teacher_in_8_learn_too(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "base", hidden=64)
    base = BaseModel.load(str(folder), quantization="nf4", device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    teacher = save_tiny_llama(tmp_path / "teacher", seed=5, hidden=64, layers=1)
    settings = settings_of(base, teacher, tmp_path, "qlora", objective_options={"quantization": "int8"})
    result = train(settings, tmp_path / "out", base=base)
    assert {header.dtype for header in result.adapter.tensors.values()} == {"F32"}
    assert all(result.losses)
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_divergence_is_the_formula(beta: float) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 11, dtype=torch.float64, requires_grad=True), 2 * torch.randn(5, 11).double()
    p, q = (teacher / 1.5).softmax(-1), (student / 1.5).softmax(-1)
    middle = beta * p + (1 - beta) * q
    written = {0.0: (p * (p / q).log()).sum(), 1.0: (q * (q / p).log()).sum()}.get(
        beta, (beta * p * (p / middle).log() + (1 - beta) * q * (q / middle).log()).sum()
    )
    found = summed_jensen_shannon(student, teacher, beta, 1.5)
    torch.testing.assert_close(found, written)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (found, written)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_data_are_learned_in_the_other_steps_and_never_asked_about_in_validation(
    base: BaseModel, teacher: Path, tmp_path: Path, share: float
) -> None:
    settings = settings_of(base, teacher, tmp_path, objective_options={"student_share": share})
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        given = [row["completion_ids"] for row in run.job.train]
        assert given[0] == run.encoder.response("red", 1)
        for training in (True, False):
            run.model.train(training)
            _, answers, *_ = trainer._generate([str(number) for number in range(8)])
            assert (answers == given) == (training and share == 0)


def test_steps_of_several_batches_are_those_of_one(base: BaseModel, teacher: Path, tmp_path: Path) -> None:
    learned = []
    for batch, accumulate in ((8, 1), (2, 4)):
        settings = settings_of(
            base, teacher, tmp_path, max_steps=2, batch_size=batch, accumulate=accumulate,
            objective_options={"student_share": 0.0},
        )  # fmt: skip
        with at_the_start(base, settings, tmp_path / f"run{batch}") as (run, trainer):
            trainer.train()
            learned.append([tensor.clone() for tensor in run.model.parameters() if tensor.requires_grad])
    for one, several in zip(*learned, strict=True):
        torch.testing.assert_close(one, several, atol=2e-3, rtol=1e-2)


def test_of_a_conversation_the_last_turn_is_answered(base: BaseModel, teacher: Path) -> None:
    objective: Any = load_objectives().get("gkd")
    options = objective.Config.load({"teacher": str(teacher), "max_new_tokens": 5}, where="test")
    tokenizer: Any = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = TEMPLATE
    encoder = Encoder(tokenizer, PromptFormat.of(tokenizer, "chat"), "chats.jsonl", max_length=200)
    said = (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    turns: Any = [{"role": role, "content": content} for role, content in said]
    (row,) = objective.prepare(options, [Chat(tuple(turns), (), 1)], encoder, BareBase(base))
    assert row["prompt_ids"] == encoder.prompt(turns[:-1], 1)
    assert tokenizer.decode(row["completion_ids"]).startswith("d")


def test_what_does_not_go_together_is_refused_by_name(base: BaseModel, teacher: Path, tmp_path: Path) -> None:
    def refused(message: str, method: str = "lora", **settings: Any) -> None:
        with pytest.raises(ConfigError, match=message):
            TrainJob.prepare(settings_of(base, teacher, tmp_path, method, **settings), base)

    for method in ("prefix_tuning", "prompt_tuning"):
        refused(
            f"objective gkd with method {method}: TRL's trainer takes no virtual tokens",
            method, options={"num_virtual_tokens": 3},
        )  # fmt: skip
    refused("with method lora: TRL's trainer takes no adapter on lm_head", options={"target_modules": ["lm_head"]})
    refused("objective gkd with method full: it needs an adapter", "full", options={})
    refused("batch_size: a step answers 9 prompts, the data have 8", batch_size=9)
    refused("teacher_adapter is of distill; .*accepted: teacher", objective_options={"teacher_adapter": "team/a"})
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: .* tokens, over max_length 20"):
        TrainJob.prepare(
            settings_of(base, teacher, tmp_path, max_length=20, objective_options={"max_new_tokens": 40}), base
        )


def test_a_teacher_of_another_vocabulary_is_refused_before_its_weights_are_read(
    base: BaseModel, tmp_path: Path
) -> None:
    other = save_tiny_llama(tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    (other / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"teacher: .*other has another vocabulary: .*'a' is"):
        TrainJob.prepare(settings_of(base, other, tmp_path), base)


def test_a_teacher_without_positions_for_an_answer_is_refused(base: BaseModel, tmp_path: Path) -> None:
    short = save_tiny_llama(tmp_path / "short")
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 8}))
    with pytest.raises(ConfigError, match=r"teacher: .*short has 8 positions, and a prompt with its answer has up to"):
        train(settings_of(base, short, tmp_path), tmp_path / "out", base=base)
