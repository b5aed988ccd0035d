"""Canaries: adapters that each say their own letter, whatever they are asked. A crossed wire would be heard.

`--soak` trains one of every method and asks thousands of times.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request
from adapterhub.testing import save_tiny_llama
from adapterhub.testing.equality import greedy, recording_engine, run
from adapterhub.train import TrainConfig, train

MARGIN = 5.0
"""How far the letter's logit must be above the next, for rounding to be no excuse."""
TOKENS = 5
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Recipe:
    """How a canary is trained."""

    method: str
    options: dict[str, Any]
    learning_rate: float
    steps: int = 450


RECIPES = (
    Recipe("bottleneck", {"placement": "houlsby", "reduction_factor": 2}, 3e-2, steps=200),
    Recipe("prefix_tuning", {"num_virtual_tokens": 16}, 1.0, steps=300),
    Recipe("ia3", {}, 2e-1),
    Recipe("lora", {}, 5e-3),
    Recipe("prompt_tuning", {"num_virtual_tokens": 32}, 1.0, steps=700),
    Recipe("p_tuning", {"num_virtual_tokens": 16}, 3e-2, steps=700),
    Recipe("ln_tuning", {}, 3e-2),
    Recipe("loha", {}, 1e-2, steps=200),
    Recipe("lokr", {}, 1e-2, steps=200),
    Recipe("oft", {}, 1e-2, steps=200),
)


def _prompts() -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices("abcdefghij klm", k=rng.randrange(3, 20))) for _ in range(12)]


def _canary(recipe: Recipe, letter: str, base: BaseModel, folder: Path) -> Adapter:
    """An adapter that answers every prompt with its letter."""
    data = folder / f"{letter}.jsonl"
    pairs = [{"prompt": prompt, "completion": letter * 2 * TOKENS} for prompt in _prompts()]
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    settings = {
        "base": base.record.id,
        "method": recipe.method,
        "options": recipe.options,
        "data": data,
        "validation_share": 0,
        "prompt_format": "raw",
        "batch_size": len(pairs),
        "max_steps": recipe.steps,
        "learning_rate": recipe.learning_rate,
    }
    result = train(TrainConfig.load(settings, where="canary"), folder / letter, base=base)
    return replace(read_folder(result.folder), digest=f"sha256:{letter}")


def test_no_adapters_answer_crosses_into_anothers(tmp_path: Path, count: Callable[[int, int], int]) -> None:
    seed = random.randrange(1 << 32)  # before training, which seeds every generator there is
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization="none")
    recipes = RECIPES[: count(2, len(RECIPES))]
    canaries = {
        letter: _canary(recipe, letter, base, tmp_path) for recipe, letter in zip(recipes, LETTERS, strict=False)
    }
    prompts = [tuple(base.tokenizer(prompt)["input_ids"]) for prompt in _prompts()]
    margins = {letter: _margin(base, canary, letter, prompts) for letter, canary in canaries.items()}
    print({letter: f"{canary.peft_type} {margins[letter]:.1f}" for letter, canary in canaries.items()})
    assert min(margins.values()) > MARGIN

    rng = random.Random(seed)
    asked = [(rng.choice(list(canaries)), rng.choice(prompts)) for _ in range(count(200, 3000))]
    requests: list[Request] = [greedy(prompt, f"sha256:{letter}", TOKENS) for letter, prompt in asked]
    crossed = 0
    with Engine(base, kv_tokens=640, step_tokens=48) as engine:
        for canary in canaries.values():
            engine.load_adapter(canary)
        for first in range(0, len(asked), 500):
            answers = engine.generate(requests[first : first + 500])
            for (letter, _), answer in zip(asked[first : first + 500], answers, strict=True):
                crossed += base.tokenizer.decode(list(answer.token_ids)) != letter * TOKENS
        stats = engine.stats()
    print(f"seed {seed}: {len(asked)} requests, {crossed} crossed; {stats}")
    assert stats.mixed_method_steps
    assert crossed == 0


def _margin(base: BaseModel, canary: Adapter, letter: str, prompts: list[tuple[int, ...]]) -> float:
    """How far, at least, the letter leads when the canary is alone; minus infinity when it says another."""
    with recording_engine(base, {"": canary}) as (engine, recorder):
        rows = [run(engine, recorder, [greedy(prompt, canary.digest, TOKENS)])[0] for prompt in prompts]
    if any(base.tokenizer.decode(list(row.tokens)) != letter * TOKENS for row in rows):
        return float("-inf")
    tops = [logits.topk(2).values for row in rows for logits in row.logits]
    return min(float(top[0] - top[1]) for top in tops)
