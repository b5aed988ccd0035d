"""W5: the server over loopback against the engine alone."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from adapterhub.base import BaseModel
from benchmarks.serve import compare
from benchmarks.work import Bench, Goal, Plot
from benchmarks.work_folder import work_folder


@dataclass(frozen=True)
class W5:
    """Streams of eight adapters of four methods; client, server and engine share the machine."""

    name: str = "w5"
    title: str = "W5: 64 streams over gRPC against the engine alone"
    streams: int = 64
    new_tokens: int = 64
    seconds: float = 30.0
    """Of load on the server in each round; as long on the engine."""

    def run(self, bench: Bench) -> dict[str, Any]:
        base = BaseModel.load(bench.base, quantization="int8")
        rows = []
        for number in range(bench.rounds):
            with work_folder(bench) as folder:
                once = compare(
                    base,
                    bench.base,
                    folder,
                    streams=self.streams,
                    seconds=self.seconds,
                    new_tokens=self.new_tokens,
                    prompts=1,
                )
            wrong = len([*once.before.wrong, *once.server.wrong, *once.after.wrong])
            engine = mean((once.before.rate, once.after.rate))
            rows.append({"round": number, "engine": engine, "server": once.server.rate, "wrong": wrong})
            bench.say(f"round {number}: {rows[-1]}")
        return {"rows": rows}

    def table(self, found: dict[str, Any]) -> list[str]:
        rows = found["rows"]
        engine, server = (median(row[name] for row in rows) for name in ("engine", "server"))
        return [
            "| | engine alone | over gRPC | ratio | streams that differ from their request alone |",
            "| --- | ---: | ---: | ---: | ---: |",
            f"| tokens/s | {engine:.0f} | {server:.0f} | {_ratio(found):.2f} | {sum(row['wrong'] for row in rows)} |",
            "",
        ]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        return [Goal("over gRPC, over the engine alone", _ratio(found), 0.95)]

    def plot(self, found: dict[str, Any]) -> Plot | None:
        return None


def _ratio(found: dict[str, Any]) -> float:
    """The median of each round's."""
    return float(median(row["server"] / row["engine"] for row in found["rows"]))
