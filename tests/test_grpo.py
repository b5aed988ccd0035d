"""Reinforcement by a reward function, through TRL's GRPO, over adapters of every kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from preferences import at_the_start, config, log_prob, write

from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError, DataError
from adapterhub.train import TrainConfig, train
from adapterhub.train.job import TrainJob

REWARDS = '''
def digits(prompts, completions, expected=None, **columns):
    """The share of an answer that is digits, as the sum that is asked for would be."""
    assert len(prompts) == len(completions) == len(expected)
    assert all(question == f"{right}+0=" for question, right in zip(prompts, expected))
    return [sum(letter.isdigit() for letter in each) / 4 for each in completions]

def raises(prompts, completions, expected):
    return [1 / 0]

def too_few(prompts, completions, expected):
    return [1.0]

def no_number(prompts, completions, expected):
    return ["good" for each in completions]

def endless(prompts, completions, expected):
    return [float("nan") for each in completions]

def other_arguments(prompts, answers):
    return []

not_callable = 3
'''
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4},
    "bottleneck": {},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


@pytest.fixture(autouse=True)
def _rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's module, in the current folder."""
    (tmp_path / "own_rewards.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_rewards", raising=False)


def _config(base: BaseModel, folder: Path, method: str = "lora", **settings: Any) -> TrainConfig:
    data = write(folder / "sums.jsonl", [{"prompt": f"{n}+0=", "completion": str(n)} for n in range(4, 24)])
    options = {"reward": "own_rewards:digits", "max_new_tokens": 4, **settings.pop("objective_options", {})}
    return config(base, data, "grpo", method, objective_options=options, **{"batch_size": 8, **settings})


def test_the_reward_of_a_small_task_rises(base: BaseModel, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    configs = [base.model.config.to_dict(), base.model.generation_config.to_dict()]
    settings = _config(base, tmp_path, seed=1, max_steps=25, batch_size=16, learning_rate=2e-2)
    result = train(settings, tmp_path / "out", base=base)
    provenance = result.adapter.provenance
    assert provenance is not None
    start, end = (provenance.evaluations[f"validation_reward_{when}"] for when in ("before", "after"))
    print(f"seed {settings.seed}: reward {start:.2f} to {end:.2f}")
    assert start < 0.2
    assert end > start + 0.3
    assert "validation_loss_after" not in provenance.evaluations
    assert provenance.training["objective_options"]["reward"] == "own_rewards:digits"
    assert result.tokens > 0
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [base.model.config.to_dict(), base.model.generation_config.to_dict()] == configs


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # a run ignores it by itself
@pytest.mark.parametrize("method", METHODS)
def test_answers_and_their_probabilities_are_those_of_each_prompt_by_itself(
    base: BaseModel, tmp_path: Path, method: str
) -> None:
    options = {"temperature": 0.001, "beta": 0.04}
    settings = _config(base, tmp_path, method, options=METHODS[method], learning_rate=0.1, objective_options=options)
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        trainer.train()
        assert list(run.model.peft_config) == ["default"]
        encoder = run.encoder
        prompts = [encoder.prompt(text, 1) for text in ("4+0=", "21+0=", "7+0=")]
        answers, _ = trainer._generate_single_turn(prompts, None, {}, 1)
        for prompt, answer in zip(prompts, answers, strict=True):
            for end in range(len(answer)):  # nearly greedy: each token is the likeliest after those before it
                found = log_prob(run.model, prompt + answer[:end], [answer[end]])
                assert found > _best(run.model, prompt + answer[:end]) - 0.01

        ids = torch.tensor([[1, *prompts[0], 70, 71], [*prompts[1], 72, 1], [1, *prompts[2], 73, 74]])
        mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1]])
        with torch.no_grad():
            found, _, _ = trainer._get_per_token_logps_and_entropies(run.model, ids, mask, 2)
        for row, prompt, answer in zip(found, prompts, ([70, 71], [72], [73, 74]), strict=True):
            expected = _log_prob_at(0.001, run.model, prompt, answer)
            assert float(row[: len(answer)].sum()) == pytest.approx(expected, rel=1e-3)


def _best(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0, -1]
    best: torch.Tensor = logits.float().log_softmax(-1).max()
    return best


def _log_prob_at(temperature: float, model: Any, prompt: list[int], answer: list[int]) -> float:
    """Of an answer given its prompt, from the logits of a row by itself."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    probabilities = (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return float(probabilities.gather(1, torch.tensor(answer)[:, None]).sum())


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_the_reference_is_the_start_and_stands_still(base: BaseModel, tmp_path: Path, method: str) -> None:
    settings = _config(base, tmp_path, method, learning_rate=0.1, objective_options={"beta": 0.1})
    ids = torch.tensor([[40, 41, 42, 43]])
    call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "fused_lm_head": True}
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer), torch.no_grad():
        run.model.eval()
        start = run.model(**call).log_probs
        with torch.enable_grad():
            trainer.train()
        assert torch.equal(trainer.ref_model(**call).log_probs, start)
        run.model.eval()
        assert not torch.allclose(run.model(**call).log_probs, start, atol=1e-3)


def test_a_base_in_4_bits_with_checkpoints_learns_too(tiny_base: Path, tmp_path: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="nf4", device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    result = train(_config(base, tmp_path, "qlora", max_steps=3), tmp_path / "out", base=base)
    assert {header.dtype for header in result.adapter.tensors.values()} == {"F32"}
    assert any(result.losses)
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())


def test_methods_know_how_many_steps_there_will_be(base: BaseModel, tmp_path: Path) -> None:
    options = {"num_generations": 4, "num_iterations": 2}
    settings = _config(base, tmp_path, "adalora", epochs=2, max_steps=None, objective_options=options)
    with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
        loader = trainer.get_train_dataloader()
        *_, steps = trainer.set_initial_training_values(trainer.args, loader)
        assert run.job.options.model_dump()["total_step"] == steps == 40


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("digits", "not of the form module:function"),
        ("no_such_module:digits", "no module 'no_such_module', neither installed nor in "),
        ("own_rewards:missing", r"own_rewards has no function 'missing' \(functions there: digits, raises, "),
        ("own_rewards:not_callable", "own_rewards has no function 'not_callable'"),
        ("own_rewards:other_arguments", r"other_arguments is not called as reward\(prompts, completions, expected\)"),
        ("broken_rewards:digits", "broken_rewards cannot be imported: ZeroDivisionError"),
        ("needing_rewards:digits", "needing_rewards cannot be imported: No module named 'not_there'"),
    ],
)
def test_a_reward_that_cannot_be_used_is_said_before_anything_loads(tmp_path: Path, reward: str, said: str) -> None:
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    (tmp_path / "needing_rewards.py").write_text("import not_there\n")
    values = {"base": "no-base-is-looked-for", "data": tmp_path / "none.jsonl", "objective": "grpo"}
    settings = TrainConfig.load(values | {"objective_options": {"reward": reward}}, where="test")
    with pytest.raises(ConfigError, match=f"objective grpo: reward: {said}"):
        TrainJob.prepare(settings, None)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("raises", r"own_rewards:raises raised ZeroDivisionError: division by zero \(own_rewards\.py, line 9\)"),
        ("too_few", "own_rewards:too_few gave 1 rewards for 8 answers; need a list of one number for each answer"),
        ("no_number", r"own_rewards:no_number gave \['good'"),
        ("endless", "own_rewards:endless gave the reward nan"),
    ],
)
def test_a_reward_that_goes_wrong_is_named(base: BaseModel, tmp_path: Path, function: str, said: str) -> None:
    settings = _config(base, tmp_path, objective_options={"reward": f"own_rewards:{function}"})
    with pytest.raises(ConfigError, match=f"reward: {said}"):
        train(settings, tmp_path / "out", base=base)


def test_what_does_not_go_together_is_refused(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: 12 answers are no groups of 8 \(num_generations\)"):
        train(_config(base, tmp_path, batch_size=12), tmp_path / "out", base=base)
    with pytest.raises(ConfigError, match="batch_size: a step of 512 answers asks 64 prompts, the data have 20"):
        TrainJob.prepare(_config(base, tmp_path, batch_size=512), base)
    with pytest.raises(DataError, match=r"sums\.jsonl:1: 20 tokens, over max_length 16"):
        TrainJob.prepare(_config(base, tmp_path, max_length=16, objective_options={"max_new_tokens": 16}), base)
    with pytest.raises(ConfigError, match="objective grpo with method lora: the adapter acts on lm_head"):
        TrainJob.prepare(_config(base, tmp_path, options={"target_modules": ["lm_head"]}), base)
