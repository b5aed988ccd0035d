"""The decisive test: a row of a mixed batch is what the same request is alone, and what PEFT says it is.

Every adapter has random nonzero values in all its tensors and moves the base's logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from transformers import AutoModelForCausalLM

import adapterhub.peft  # noqa: F401  PEFT learns to load our methods
from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.base.resolve import resolve_base
from adapterhub.engine import Request
from adapterhub.testing.equality import Row, assert_equal, greedy, recording_engine, run, teacher_forced

MOVES = 0.05
"""How far, at least, each adapter must move some logit of the base."""


@dataclass(frozen=True)
class Case:
    """A base with adapters of several methods, and requests that mix them."""

    base: BaseModel
    folder: Path
    """Where the base lies."""
    folders: dict[str, Path]
    adapters: dict[str, Adapter]
    requests: list[Request]
    step_tokens: int


RECIPES: list[tuple[str, dict[str, Any], float]] = [
    ("lora", {"r": 8, "lora_alpha": 12}, 1),
    ("lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]}, 1),
    ("bottleneck", {"placement": "houlsby", "reduction_factor": 4, "non_linearity": "swish"}, 1),
    ("bottleneck", {"placement": "pfeiffer"}, 1),
    ("bottleneck", {"placement": "parallel", "reduction_factor": 2, "scaling": 4}, 1),
    ("ia3", {}, 10),
    ("prompt_tuning", {"num_virtual_tokens": 5}, 1),
    ("p_tuning", {"num_virtual_tokens": 17}, 1),
    ("prefix_tuning", {"num_virtual_tokens": 21}, 10),
]
"""Method, options, and how much larger than the case's its random values are."""


def _case(ref: str, folder: Path, *, scale: float, new_tokens: int, step_tokens: int, prompts: list[str]) -> Case:
    base = BaseModel.load(ref, quantization="none")
    folders, adapters = {}, {}
    for index, (method, options, factor) in enumerate(RECIPES):
        digest = f"sha256:{method}-{index}"
        folders[digest] = save_random_adapter(
            folder / str(index), method, base.shape, seed=index, scale=scale * factor, **options
        )
        adapters[digest] = replace(read_folder(folders[digest]), digest=digest)
    names = ["", *adapters]
    encoded = [base.tokenizer(prompt)["input_ids"] for prompt in prompts]
    requests = [greedy(ids, names[index % len(names)], new_tokens) for index, ids in enumerate(encoded)]
    return Case(base, resolve_base(ref).path, folders, adapters, requests, step_tokens)


@pytest.fixture(scope="module")
def tiny_case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    prompts = ["abcdefgh" * (1 + index % 4) + str(index) for index in range(2 * len(RECIPES) + 2)]
    return _case(
        str(tiny_base), tmp_path_factory.mktemp("tiny"), scale=0.1, new_tokens=24, step_tokens=40, prompts=prompts
    )


@pytest.fixture(scope="module")
def smollm2_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    prompts = [f"{opening} {'and so on ' * (index % 5)}{index}:" for index, opening in enumerate(OPENINGS)]
    return _case(
        "smollm2-135m", tmp_path_factory.mktemp("real"), scale=0.02, new_tokens=12, step_tokens=40, prompts=prompts
    )


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
)


@pytest.fixture(scope="module", params=["tiny", "smollm2"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(f"{request.param}_case")
    return found


@pytest.fixture(scope="module")
def alone(case: Case) -> list[Row]:
    """Each request run with no neighbour."""
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        return [run(engine, recorder, [request])[0] for request in case.requests]


def test_a_row_of_a_mixed_batch_equals_the_request_alone(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, case.adapters, step_tokens=case.step_tokens) as (engine, recorder):
        report = assert_equal(engine, recorder, case.requests, alone)
        stats = engine.stats()
    print(f"{report.tokens} tokens, {report.ties} ties, logits differ by at most {report.drift:.1e}")
    assert stats.mixed_method_steps > 10


def test_order_and_neighbours_do_not_matter(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, case.adapters, step_tokens=case.step_tokens) as (engine, recorder):
        assert_equal(engine, recorder, case.requests[::-1], alone[::-1])
        assert_equal(engine, recorder, case.requests[3:6], alone[3:6])


def test_swapping_two_adapters_is_noticed(case: Case, alone: list[Row]) -> None:
    first, second = list(case.adapters)[:2]
    swapped = {
        first: replace(case.adapters[second], digest=first),
        second: replace(case.adapters[first], digest=second),
    }
    with (
        recording_engine(case.base, {**case.adapters, **swapped}) as (engine, recorder),
        pytest.raises(AssertionError, match=r"logits differ|token \d+ differs"),
    ):
        assert_equal(engine, recorder, case.requests, alone)


def test_every_adapter_moves_the_logits(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, {}) as (engine, recorder):
        bare = run(engine, recorder, [replace(request, adapter="") for request in case.requests])
    for request, row, base_row in zip(case.requests, alone, bare, strict=True):
        moved = float((row.logits[0] - base_row.logits[0]).abs().max())
        assert moved >= MOVES if request.adapter else moved < 1e-4


# LoRA on the head of a base with tied embeddings is exact without merging, which is what PEFT warns of.
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_served_rows_equal_pefts_own_logits(case: Case, alone: list[Row]) -> None:
    rows = list(zip(case.requests, alone, strict=True))
    for digest in ("", *case.folders):
        model = _plain(case)
        if digest:
            model = PeftModel.from_pretrained(model, str(case.folders[digest]))
        for request, row in [pair for pair in rows if pair[0].adapter == digest]:
            reference = teacher_forced(model.eval(), request, row)
            torch.testing.assert_close(row.logits, reference, atol=1e-4, rtol=0)
            assert reference.argmax(dim=-1).tolist() == list(row.tokens)


def _plain(case: Case) -> torch.nn.Module:
    """The same base as transformers loads it, for PEFT to wrap."""
    return AutoModelForCausalLM.from_pretrained(case.folder, dtype=torch.float32)
