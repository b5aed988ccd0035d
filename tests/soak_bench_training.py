"""The bench's training part: two drivers, the same steps, what is made of their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterhub.base.model import load_tokenizer
from adapterhub.testing import save_tiny_llama
from benchmarks.training.plain import train as train_plainly
from benchmarks.training.protocol import Spec, write_rows
from benchmarks.training.rows import in_our_order, rows
from benchmarks.training.run import run_driver
from benchmarks.works.w6 import W6


def test_both_drivers_learn_from_the_same_rows_to_the_same_losses(tmp_path: Path) -> None:
    base = save_tiny_llama(tmp_path / "base", hidden=64)  # whole blocks of NF4, which ours leaves floating otherwise
    spec = Spec(str(base), str(tmp_path / "rows.jsonl"), nf4=True, recompute=False, steps=3)
    write_rows(Path(spec.data), rows())
    ours = run_driver("ours", spec, tmp_path, tmp_path / "log")
    write_rows(Path(spec.data), in_our_order(rows(), load_tokenizer(base), spec))
    plain = train_plainly(spec, tmp_path / "plain")  # not in a process of its own: the imports would take as long again
    assert ours.tokens == [step.tokens for step in plain]
    assert ours.losses == pytest.approx([step.loss for step in plain], abs=1e-4)
    assert ours.losses[2] != ours.losses[0]
    assert ours.peak_bytes > 100e6  # of a python with torch, not of nothing


def row_of(contender: str, number: int, rate: float, **more: Any) -> dict[str, Any]:
    figures = {"rate": rate, "cpu_rate": rate / 2, "peak_bytes": 2_000_000_000, "tokens": [4, 5], "losses": [2.0, 1.0]}
    return {"contender": contender, "cell": "LoRA", "round": number, **figures, **more}


def test_the_table_tells_ratios_round_by_round_and_the_largest_difference() -> None:
    found = [
        row_of("ours", 0, 90.0, losses=[2.0, 1.5]),
        row_of("plain", 0, 100.0),
        row_of("plain", 1, 50.0),
        row_of("ours", 1, 55.0),
    ]
    line = W6().table({"cells": ["LoRA"], "rows": found})[2]
    assert line == "| LoRA | 72.5 | 75.0 | 1.00 | 1.00 | 2000 | 2000 | 1.00 | 5.0e-01 |"


def test_steps_over_other_rows_and_drivers_that_fail_are_said() -> None:
    other = [row_of("ours", 0, 90.0, tokens=[4, 6]), row_of("plain", 0, 100.0)]
    assert "no comparison" in "\n".join(W6().table({"cells": ["LoRA"], "rows": other}))
    failed = [row_of("ours", 0, 90.0), {"contender": "plain", "cell": "LoRA", "round": 0, "error": "out of memory"}]
    assert "- LoRA, plain: out of memory" in W6().table({"cells": ["LoRA"], "rows": failed})
