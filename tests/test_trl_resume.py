"""A run through TRL that goes on from a checkpoint: its steps, and what it is held to, as if it had not stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from preferences import at_the_start, colors, config, rated, write

from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama

REWARDS = """
def short(prompts, completions, expected):
    return [-len(each) for each in completions]
"""


@pytest.mark.parametrize(
    ("objective", "method", "options"),
    [
        ("dpo", "prompt_tuning", {}),
        ("kto", "lora", {}),
        ("orpo", "lora", {}),
        ("grpo", "lora", {"reward": "rewards_of_resume:short", "max_new_tokens": 4, "num_generations": 4, "beta": 0.1}),
        ("gkd", "lora", {"max_new_tokens": 4, "student_share": 0.5}),
    ],
)
def test_a_resumed_run_ends_as_one_that_never_stopped(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    method: str,
    options: dict[str, Any],
) -> None:
    (tmp_path / "rewards_of_resume.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "rewards_of_resume", raising=False)
    base = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    prompts = [{"prompt": f"{n}+0=", "completion": str(n)} for n in range(4, 24)]
    asked = dict.fromkeys(("grpo", "gkd"), lambda path: write(path, prompts))
    data = {"kto": rated, **asked}.get(objective, colors)(tmp_path / "d.jsonl")
    if objective == "gkd":
        options = {**options, "teacher": str(save_tiny_llama(tmp_path / "teacher", seed=5, layers=1))}
    settings = config(base, data, objective, method, objective_options=options)
    ends = []
    for checkpoint in (None, str(tmp_path / "run" / "checkpoint-2")):
        with at_the_start(base, settings, tmp_path / "run") as (run, trainer):
            trainer.args.save_strategy, trainer.args.save_steps = "steps", 2
            trainer.train(resume_from_checkpoint=checkpoint)
            losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
            ends.append((losses, [tensor.clone() for tensor in run.model.parameters() if tensor.requires_grad]))
    (losses, learned), (again, learned_again) = ends
    assert losses == again
    assert len(losses) == 4
    assert all(torch.equal(a, b) for a, b in zip(learned, learned_again, strict=True))
    assert not (tmp_path / "run" / "README.md").exists()  # TRL's model card
