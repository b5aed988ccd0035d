"""The decisive test: a row of a mixed batch is what the same request is alone, and what PEFT says it is.

Every adapter has random nonzero values in all its tensors and moves the base's logits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import Case, smollm2_case, tiny_case
from peft import PeftModel
from transformers import AutoModelForCausalLM

import adapterhub.peft  # noqa: F401  PEFT learns to load our methods
from adapterhub.testing.equality import Row, assert_equal, recording_engine, run, teacher_forced

MOVES = 0.05
"""How far, at least, each adapter must move some logit of the base."""


STEP_TOKENS = 40
"""Rows of a step: fewer than the prompts together, which are prefilled beside rows that decode."""


@pytest.fixture(scope="module", params=["tiny", "smollm2"])
def case(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    return tiny_case(tiny_base, folder) if request.param == "tiny" else smollm2_case(folder)


@pytest.fixture(scope="module")
def alone(case: Case) -> list[Row]:
    """Each request run with no neighbour."""
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        return [run(engine, recorder, [request])[0] for request in case.requests]


def test_a_row_of_a_mixed_batch_equals_the_request_alone(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, case.adapters, step_tokens=STEP_TOKENS) as (engine, recorder):
        report = assert_equal(engine, recorder, case.requests, alone)
        stats = engine.stats()
    print(f"{report.tokens} tokens, {report.ties} ties, logits differ by at most {report.drift:.1e}")
    assert stats.mixed_method_steps > 10


def test_order_and_neighbours_do_not_matter(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, case.adapters, step_tokens=STEP_TOKENS) as (engine, recorder):
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
