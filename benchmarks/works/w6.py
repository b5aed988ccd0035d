"""W6: training, ours against a plain script of transformers, PEFT and TRL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from adapterhub.base.model import load_tokenizer, read_base
from benchmarks.contender import ContenderError
from benchmarks.training.protocol import Spec, write_rows
from benchmarks.training.rows import in_our_order, rows
from benchmarks.training.run import run_driver
from benchmarks.work import Bench, Goal, Plot

OURS, PLAIN = "ours", "plain"
DRIVERS = (OURS, PLAIN)


class Cell(NamedTuple):
    """One way to train."""

    name: str
    nf4: bool
    recompute: bool


CELLS = (
    Cell("LoRA", nf4=False, recompute=False),
    Cell("QLoRA", nf4=True, recompute=False),
    Cell("QLoRA, activations computed again", nf4=True, recompute=True),
)
SAME_LOSS = 1e-3
"""Two curves of one seed nearer than this at every step are the same, but for the order of sums."""
HEADS = (
    *("", "tokens/s", "PEFT+TRL", "ratio", "by processor time"),
    *("peak memory", "PEFT+TRL", "ratio", "losses differ by at most"),
)


@dataclass(frozen=True)
class W6:
    """The same steps by both. Who takes part is not to be chosen."""

    name: str = "w6"
    title: str = "W6: training with LoRA of rank 8 on all projections, 4 rows of about 110 tokens a step"
    cells: tuple[Cell, ...] = CELLS
    steps: int = 12

    def run(self, bench: Bench) -> dict[str, Any]:
        base, _ = read_base(bench.base)
        bench.logs.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {"cells": [cell.name for cell in self.cells], "rows": []}
        for number in range(bench.rounds):
            for cell in self.cells:
                for driver in DRIVERS if number % 2 == 0 else DRIVERS[::-1]:
                    found["rows"].append(self._row(driver, cell, number, base.path, bench))
        return found

    def table(self, found: dict[str, Any]) -> list[str]:
        lines = [_line(HEADS), _line(["---", *["---:"] * (len(HEADS) - 1)])]
        notes = []
        for cell in found["cells"]:
            pairs = list(_pairs(found, cell))
            lines.append(_line([cell, *(_figures(pairs) if pairs else [""] * (len(HEADS) - 1))]))
            if any(ours["tokens"] != plain["tokens"] for ours, plain in pairs):
                notes.append(f"- {cell}: the two did not learn from the same rows; no comparison")
        failed = {f"- {row['cell']}, {row['contender']}: {row['error']}" for row in found["rows"] if "error" in row}
        return [*lines, "", *notes, *sorted(failed), ""]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        goals = []
        for cell in found["cells"]:
            pairs = list(_pairs(found, cell))
            speed, memory = (_ratio(pairs, key) if pairs else None for key in ("rate", "peak_bytes"))
            goals.append(Goal(f"{cell}: tokens/s over PEFT+TRL", speed, 0.97))
            goals.append(Goal(f"{cell}: peak memory over PEFT+TRL", memory, 1.0, at_most=True))
            apart = _apart(pairs) if pairs else None
            goals.append(Goal(f"{cell}: losses differ by at most", apart, SAME_LOSS, at_most=True))
        return goals

    def plot(self, found: dict[str, Any]) -> Plot | None:
        return None

    def _row(self, driver: str, cell: Cell, number: int, model: Path, bench: Bench) -> dict[str, Any]:
        row = {"contender": driver, "cell": cell.name, "round": number, "load": os.getloadavg()[0]}
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            spec = Spec(str(model), str(folder / "rows.jsonl"), cell.nf4, cell.recompute, self.steps)
            learned = rows() if driver == OURS else in_our_order(rows(), load_tokenizer(model), spec)
            write_rows(Path(spec.data), learned)
            try:
                trained = run_driver(driver, spec, folder, bench.logs / f"w6-{driver}.log")
            except ContenderError as error:
                bench.say(f"{cell.name}: {error}")
                return row | {"error": str(error)}
        bench.say(f"round {number}, {cell.name}: {driver} {trained.rate:.1f} tokens/s")
        figures = {"rate": trained.rate, "cpu_rate": trained.cpu_rate, "peak_bytes": trained.peak_bytes}
        return row | figures | {"tokens": trained.tokens, "losses": trained.losses, "versions": trained.versions}


def _pairs(found: dict[str, Any], cell: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Ours and theirs of each round that both came to the end of."""
    done = {(row["contender"], row["round"]): row for row in found["rows"] if row["cell"] == cell and "rate" in row}
    for who, number in done:
        if who == OURS and (PLAIN, number) in done:
            yield done[OURS, number], done[PLAIN, number]


def _figures(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """What stands below HEADS: medians of the rounds, and of each round's ratios."""

    def medians(key: str, unit: float, spec: str) -> list[str]:
        values = [median(pair[side][key] for pair in pairs) / unit for side in (0, 1)]
        return [*(format(value, spec) for value in values), ratio(key)]

    def ratio(key: str) -> str:
        return f"{_ratio(pairs, key):.2f}"

    return [*medians("rate", 1, ".1f"), ratio("cpu_rate"), *medians("peak_bytes", 1e6, ".0f"), f"{_apart(pairs):.1e}"]


def _ratio(pairs: list[tuple[dict[str, Any], dict[str, Any]]], key: str) -> float:
    return float(median(ours[key] / plain[key] for ours, plain in pairs))


def _apart(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    """The most that two losses of the same step differ."""
    losses = ((ours["losses"], plain["losses"]) for ours, plain in pairs)
    return float(max(abs(one - other) for ours, plain in losses for one, other in zip(ours, plain, strict=True)))


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
