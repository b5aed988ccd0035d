"""The bench's training part: two drivers, the same steps, what is made of their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterhub.testing import save_tiny_llama
from benchmarks.work import Bench
from benchmarks.works.w6 import CELLS, W6


def test_both_drivers_learn_from_the_same_rows_to_the_same_losses(tmp_path: Path) -> None:
    base = save_tiny_llama(tmp_path / "base", hidden=64)  # whole blocks of NF4, which ours leaves floating otherwise
    _, cell, _ = CELLS
    assert cell.nf4
    work = W6(cells=(cell,), steps=3)
    said: list[str] = []
    found = work.run(Bench(tmp_path, tmp_path / "cache", base=str(base), rounds=1, say=said.append))
    ours, plain = found["rows"]
    assert (ours["contender"], plain["contender"]) == ("ours", "plain"), said
    assert ours["tokens"] == plain["tokens"]
    assert ours["losses"] == pytest.approx(plain["losses"], abs=1e-4)
    assert ours["losses"][2] != ours["losses"][0]
    assert min(ours["peak_bytes"], plain["peak_bytes"]) > 100e6  # of python with torch, not of nothing
    assert "no comparison" not in "\n".join(work.table(found))


def row(contender: str, number: int, rate: float, **more: Any) -> dict[str, Any]:
    figures = {"rate": rate, "cpu_rate": rate / 2, "peak_bytes": 2_000_000_000, "tokens": [4, 5], "losses": [2.0, 1.0]}
    return {"contender": contender, "cell": "LoRA", "round": number, **figures, **more}


def test_the_table_tells_ratios_round_by_round_and_the_largest_difference() -> None:
    rows = [
        row("ours", 0, 90.0, losses=[2.0, 1.5]),
        row("plain", 0, 100.0),
        row("plain", 1, 50.0),
        row("ours", 1, 55.0),
    ]
    line = W6().table({"cells": ["LoRA"], "rows": rows})[2]
    assert line == "| LoRA | 72.5 | 75.0 | 1.00 | 1.00 | 2000 | 2000 | 1.00 | 5.0e-01 |"


def test_steps_over_other_rows_and_drivers_that_fail_are_said() -> None:
    other = [row("ours", 0, 90.0, tokens=[4, 6]), row("plain", 0, 100.0)]
    assert "no comparison" in "\n".join(W6().table({"cells": ["LoRA"], "rows": other}))
    failed = [row("ours", 0, 90.0), {"contender": "plain", "cell": "LoRA", "round": 0, "error": "out of memory"}]
    assert "- LoRA, plain: out of memory" in W6().table({"cells": ["LoRA"], "rows": failed})
