"""W2: adapters of many methods in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from benchmarks.recipes import Recipe, resident
from benchmarks.step import Work as Requests
from benchmarks.work import Bench, Goal, Plot

MIX: tuple[Recipe, ...] = (
    ("lora", {"r": 4}),
    ("lora", {"r": 8}),
    ("lora", {"r": 16}),
    ("lora", {"r": 64}),
    ("lora", {"r": 8, "use_dora": True}),
    ("ia3", {}),
    ("bottleneck", {"placement": "pfeiffer"}),
    ("prefix_tuning", {"num_virtual_tokens": 16}),
)
"""With the bare base, what the requests take in turn."""


@dataclass(frozen=True)
class W2:
    """32 requests over eight adapters of five methods and the base, against eight equal LoRA adapters."""

    name: str = "w2"
    title: str = "W2: LoRA of ranks 4 to 64, DoRA, IA3, bottleneck, prefix tuning, the base; against 8 LoRA"
    requests: int = 32
    prompt_tokens: int = 64
    new_tokens: int = 64

    def run(self, bench: Bench) -> dict[str, Any]:
        base = BaseModel.load(bench.base, quantization="int8")
        work = Requests(self.requests, self.prompt_tokens, self.new_tokens)
        rows: list[dict[str, Any]] = []
        with TemporaryDirectory() as folder, Engine(base, max_sequences=self.requests) as engine:
            equal = resident(engine, Path(folder) / "equal", [("lora", {"r": 8})] * 8)
            mix = ["", *resident(engine, Path(folder) / "mix", MIX)]
            cases = {"base": [], "8 x LoRA": equal, "mix": mix}
            for digests in cases.values():
                Requests(self.requests, self.prompt_tokens, 4).run(engine, digests, seed=-1)
            for number in range(REPEATS * bench.rounds):
                for name in list(cases)[:: 1 if number % 2 == 0 else -1]:
                    rate = work.run(engine, cases[name], seed=number).rate
                    bench.say(f"round {number}: {name} {rate:.0f} tokens/s")
                    rows.append({"round": number, "case": name, "rate": rate})
        return {"rows": rows}

    def table(self, found: dict[str, Any]) -> list[str]:
        rates = _rates(found)
        return [
            "| | base | 8 x LoRA | mix | mix / 8 x LoRA |",
            "| --- | ---: | ---: | ---: | ---: |",
            f"| tokens/s | {' | '.join(f'{median(rates[name]):.0f}' for name in CASES)} | {_ratio(rates):.2f} |",
            "",
        ]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        return [Goal("the mix over 8 LoRA adapters", _ratio(_rates(found)), 0.85)]

    def plot(self, found: dict[str, Any]) -> Plot | None:
        return None


CASES = ("base", "8 x LoRA", "mix")
REPEATS = 3
"""Of each round: they take seconds."""


def _rates(found: dict[str, Any]) -> dict[str, list[float]]:
    """Of each case, by round."""
    by_round = sorted(found["rows"], key=lambda row: int(row["round"]))
    return {name: [row["rate"] for row in by_round if row["case"] == name] for name in CASES}


def _ratio(rates: dict[str, list[float]]) -> float:
    """The median of each round's."""
    return median(mix / equal for mix, equal in zip(rates["mix"], rates["8 x LoRA"], strict=True))
