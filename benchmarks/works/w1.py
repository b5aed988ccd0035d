"""W1: a small base, N distinct LoRA adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapterhub.base.model import read_base
from benchmarks.adapter_folders import lora_folders
from benchmarks.comparison import Comparison
from benchmarks.prompts import Prompts
from benchmarks.roster import OURS
from benchmarks.throughput import Cell, Throughput
from benchmarks.work import Bench, Goal, Plot

RANK = 8
FAST_ALONE = "openvino-int8"
"""The peer of our kind of weights."""


@dataclass(frozen=True)
class W1:
    """32 requests, and a single one."""

    name: str = "w1"
    title: str = "W1: N distinct LoRA adapters of rank 8 on all projections, 64 prompt and 64 new tokens"
    counts: tuple[int, ...] = (1, 4, 8, 32)
    requests: int = 32
    prompt_tokens: int = 64
    new_tokens: int = 64
    pair_rounds: int = 5

    def cells(self) -> list[Cell]:
        many = [Cell(self.requests, count) for count in (0, *self.counts)]
        return [Cell(1, 0, bare=True), Cell(1, 1), Cell(self.requests, 0, bare=True), *many]

    def pairs(self) -> list[tuple[Cell, Cell]]:
        """What adapters cost, and what it costs to be ready for them."""
        base = Cell(self.requests, 0)
        return [(base, base._replace(bare=True)), *((Cell(self.requests, count), base) for count in self.counts)]

    def run(self, bench: Bench) -> dict[str, Any]:
        folder, shape = read_base(bench.base)
        adapters = lora_folders(bench.cache, folder.path, shape, max(self.counts), RANK, bench.adapter_dtype)
        prompts = Prompts.of(folder.path, shape.vocab_size)
        work = Throughput(
            folder.path,
            adapters,
            prompts,
            self.cells(),
            bench.rounds,
            self.prompt_tokens,
            self.new_tokens,
            pairs=self.pairs(),
            pair_rounds=self.pair_rounds,
        )
        return work.measure(bench)

    def table(self, found: dict[str, Any]) -> list[str]:
        comparison = Comparison(found)
        return [*comparison.lines(), *comparison.kept([(cell.name, to.name) for cell, to in self.pairs()])]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        comparison = Comparison(found)
        cells = {count: Cell(self.requests, count).name for count in (0, *self.counts)}
        bare = Cell(self.requests, 0, bare=True).name
        single = Cell(1, 0, bare=True).name
        goals = [
            Goal(f"{cells[count]} over the best peer", comparison.over_best(cells[count]), bound)
            for count, bound in ((0, 1.0), (1, 1.2), (8, 3.0), (32, 4.0))
        ]
        goals.append(Goal(f"{single} over {FAST_ALONE}", comparison.over(FAST_ALONE, single), 1.0))
        return [
            *goals,
            *(
                Goal(f"{cell} over {to}", comparison.ratio(OURS, cell, to), bound)
                for cell, to, bound in (
                    (cells[1], cells[0], 0.93),
                    (cells[32], cells[0], 0.85),
                    (cells[0], bare, 0.98),
                )
            ),
        ]

    def plot(self, found: dict[str, Any]) -> Plot | None:
        cells = {Cell(self.requests, count).name: float(count) for count in (0, *self.counts)}
        return Comparison(found).plot(cells, "distinct adapters")
