"""A base with adapters of every built-in method and requests that mix them, for the equality tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conftest import save_random_adapter

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel, Quantization
from adapterhub.base.resolve import resolve_base
from adapterhub.engine import Request
from adapterhub.testing.equality import greedy


@dataclass(frozen=True)
class Case:
    """A base with adapters of several methods, and requests that mix them."""

    base: BaseModel
    folder: Path
    """Where the base lies."""
    folders: dict[str, Path]
    adapters: dict[str, Adapter]
    requests: list[Request]


Recipes = list[tuple[str, dict[str, Any], float]]

RECIPES: Recipes = [
    ("lora", {"r": 8, "lora_alpha": 12}, 1),
    ("lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]}, 1),
    ("bottleneck", {"placement": "houlsby", "reduction_factor": 4, "non_linearity": "swish"}, 1),
    ("bottleneck", {"placement": "pfeiffer"}, 1),
    ("bottleneck", {"placement": "parallel", "reduction_factor": 2, "scaling": 4}, 1),
    ("ia3", {}, 10),
    ("vera", {"r": 16}, 4),
    ("prompt_tuning", {"num_virtual_tokens": 5}, 1),
    ("p_tuning", {"num_virtual_tokens": 17}, 1),
    ("prefix_tuning", {"num_virtual_tokens": 21}, 10),
    ("loha", {"r": 4, "target_modules": ["v_proj", "down_proj"]}, 4),
    ("lokr", {"r": 4, "target_modules": ["v_proj", "down_proj"]}, 4),
    ("oft", {"oft_block_size": 16, "target_modules": ["v_proj", "down_proj"]}, 1),
    ("ln_tuning", {}, 10),
]
"""Method, options, and how much larger than the case's its random values are."""


MORE_RECIPES: Recipes = [
    ("lora", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}, 1),
    ("ia3", {"target_modules": ["k_proj", "v_proj"], "feedforward_modules": []}, 10),
    ("prompt_tuning", {"num_virtual_tokens": 18}, 1),
]
"""Further options of the same methods, for histories of many adapters."""


OPENINGS = (
    "The capital of France is",
    "A short list of animals:",
    "Once upon a time there was a baker who",
    "To make tea, first",
    "def fibonacci(n):",
    "Dear customer, your order",
    "The weather in Lisbon today is",
    "Three plus four equals",
    "The opposite of cold is",
    "She opened the door and",
    "In 1969 the first",
    "My favourite colour is",
    "Before the train left,",
    "The recipe calls for",
)


def tiny_case(base: Path, folder: Path, quantization: Quantization = "none", recipes: Recipes = RECIPES) -> Case:
    """On a tiny base; every adapter has two requests."""
    prompts = ["abcdefgh" * (1 + index % 4) + str(index) for index in range(2 * len(recipes) + 2)]
    return _case(str(base), quantization, folder, recipes, scale=0.1, new_tokens=24, prompts=prompts)


def smollm2_case(folder: Path, quantization: Quantization = "none") -> Case:
    """On the real small model."""
    prompts = [f"{opening} {'and so on ' * (index % 5)}{index}:" for index, opening in enumerate(OPENINGS)]
    return _case("smollm2-135m", quantization, folder, RECIPES, scale=0.02, new_tokens=12, prompts=prompts)


def _case(
    ref: str,
    quantization: Quantization,
    folder: Path,
    recipes: Recipes,
    *,
    scale: float,
    new_tokens: int,
    prompts: list[str],
) -> Case:
    base = BaseModel.load(ref, quantization=quantization)
    folders, adapters = {}, {}
    for index, (method, options, factor) in enumerate(recipes):
        digest = f"sha256:{method}-{index}"
        folders[digest] = save_random_adapter(
            folder / str(index), method, base.shape, seed=index, scale=scale * factor, **options
        )
        adapters[digest] = replace(read_folder(folders[digest]), digest=digest)
    names = ["", *adapters]
    encoded = [base.tokenizer(prompt)["input_ids"] for prompt in prompts]
    requests = [greedy(ids, names[index % len(names)], new_tokens) for index, ids in enumerate(encoded)]
    return Case(base, resolve_base(ref).path, folders, adapters, requests)
