"""Sample answers before and after training: the model's own, under every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from training import train_briefly

from adapterhub.base import BaseModel
from adapterhub.train import TrainConfig
from adapterhub.train.job import TrainJob
from adapterhub.train.questions import LONGEST

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({}, 2e-2),
    "bottleneck": ({}, 2e-2),
    "ia3": ({}, 1e-1),
    "prefix_tuning": ({"num_virtual_tokens": 4}, 1e-1),
    "prompt_tuning": ({"num_virtual_tokens": 4}, 3e-1),
}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


def answered(model: Any, base: BaseModel, prompt: str) -> str:
    """The likeliest token after all before it, again and again, without a cache."""
    ids, new = base.tokenizer(prompt)["input_ids"], list[int]()
    while len(new) < LONGEST and base.tokenizer.eos_token_id not in new:
        with torch.no_grad():
            new.append(int(model(input_ids=torch.tensor([[*ids, *new]]), use_cache=False).logits[0, -1].argmax()))
    return str(base.tokenizer.decode(new, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_the_bases_and_the_adapters_own_answers(base: BaseModel, tmp_path: Path, method: str) -> None:
    options, rate = METHODS[method]
    result = train_briefly(base, method, tmp_path / "out", rate=rate, options=options, samples=2)
    assert len(result.samples) == 2
    bare = [answered(base.model, base, sample.prompt) for sample in result.samples]
    loaded: Any = PeftModel.from_pretrained(base.model, tmp_path / "out").eval()
    for sample, before in zip(result.samples, bare, strict=True):
        assert sample.expected == ("red", "blue")[int(sample.prompt[:-1]) % 2]
        assert (sample.base, sample.adapter) == (before, answered(loaded, base, sample.prompt))
        assert sample.adapter != sample.base
    if method not in ("prompt_tuning", "prefix_tuning"):
        loaded.unload()


def test_the_seed_draws_the_questions_and_none_are_asked_where_none_are_wanted(base: BaseModel, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "yes"}) + "\n" for n in range(60)))

    def prompts(**settings: Any) -> list[str]:
        values = {"base": "given", "data": data, "validation_share": 0.5, "validation": data, **settings}
        return [
            question.prompt for question in TrainJob.prepare(TrainConfig.load(values, where="test"), base).questions
        ]

    assert len(set(prompts())) == 3
    assert prompts() == prompts() != prompts(seed=1)
    assert prompts(samples=0) == []
    assert prompts(validation=None, validation_share=0) == []
