"""W3: more adapters than there is room for, and what loading them does to requests that run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import median, quantiles
from typing import Any

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import UnavailableError
from benchmarks.arrivals import Arrivals, Times
from benchmarks.recipes import written
from benchmarks.work import Bench, Goal, Plot
from benchmarks.work_folder import work_folder

WARM = 4
"""Adapters of the requests that run while others load."""


@dataclass(frozen=True)
class W3:
    """Poisson arrivals, Zipf over 200 adapters."""

    name: str = "w3"
    title: str = "W3: Poisson arrivals, Zipf over 200 LoRA adapters of rank 8, room for 200 and for 50"
    adapters: int = 200
    fit: int = 50
    rate: float = 4.0
    """Requests a second."""
    count: int = 120
    """Requests of each load."""
    prompt_tokens: int = 64
    new_tokens: int = 32
    pause: float = 0.1
    """Seconds from one cold adapter's load to the next."""

    def run(self, bench: Bench) -> dict[str, Any]:
        base = BaseModel.load(bench.base, quantization="int8")
        rows: list[dict[str, Any]] = []
        with work_folder(bench) as folder:
            adapters = written(base, folder, [("lora", {"r": 8})] * self.adapters)
            own = _resident_bytes(base, adapters[0])
            for number in range(bench.rounds):
                for fit in (self.adapters, self.fit)[:: 1 if number % 2 == 0 else -1]:
                    rows.append({"round": number, **self._arrivals(base, adapters, fit, own, number)})
                    bench.say(f"round {number}: {rows[-1]}")
                rows += ({"round": number, **row} for row in self._warm(base, adapters, own, number))
                bench.say(f"round {number}: {rows[-2:]}")
        return {"rows": rows, "bytes": own}

    def _arrivals(self, base: BaseModel, adapters: Sequence[Adapter], fit: int, own: int, seed: int) -> dict[str, Any]:
        """The load where `fit` adapters have room, on an engine that has seen every adapter once."""
        host = self.adapters * own
        with Engine(base, kv_tokens=16384, adapter_bytes=fit * own, host_adapter_bytes=host) as engine:
            for adapter in reversed(adapters):
                engine.load_adapter(adapter)
            before = engine.stats().evictions
            load = Arrivals(self.count, self.rate, self.prompt_tokens, self.new_tokens)
            times = load.run(engine, [adapter.digest for adapter in adapters], seed)
            return {"case": f"{fit} fit", "evictions": engine.stats().evictions - before, **_percentiles(times)}

    def _warm(self, base: BaseModel, adapters: Sequence[Adapter], own: int, seed: int) -> list[dict[str, Any]]:
        """The same requests of resident adapters, alone and while others are loaded one after the other."""
        load = Arrivals(self.count, self.rate, self.prompt_tokens, self.new_tokens)
        warm = [adapter.digest for adapter in adapters[:WARM]]
        found = []
        for case in ("quiet", "while others load")[:: 1 if seed % 2 == 0 else -1]:
            # an engine of its own: another's prefix cache would know the prompts
            with Engine(base, kv_tokens=16384, adapter_bytes=self.fit * own, host_adapter_bytes=own) as engine:
                for adapter in adapters[:WARM]:
                    engine.load_adapter(adapter)
                    engine.pin_adapter(adapter.digest)
                with _loading(engine, adapters[WARM:] if case != "quiet" else [], self.pause) as loaded:
                    times = load.run(engine, warm, seed)
                found.append({"case": case, "loads": len(loaded), **_percentiles(times)})
        return found

    def table(self, found: dict[str, Any]) -> list[str]:
        def middle(case: str, name: str) -> float:
            return float(median(row[name] for row in found["rows"] if row["case"] == case))

        lines = [
            "| milliseconds | first token 50 % | 95 % | 99 % | between tokens 50 % | 99 % | evictions or loads |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        cases = [f"{self.adapters} fit", f"{self.fit} fit", "quiet", "while others load"]
        for case in cases:
            names = ("first_50", "first_95", "first_99", "between_50", "between_99")
            cells = [f"{1000 * middle(case, name):.0f}" for name in names]
            moved = middle(case, "evictions" if "fit" in case else "loads")
            lines.append(f"| {case} | {' | '.join(cells)} | {moved:.0f} |")
        first, between = self.ratios(found)
        lines += [
            "",
            f"Time to first token, median, with 4 times what fits over all that fits: {first:.2f}; 99 % between tokens "
            f"while others load over quiet: {between:.2f}.",
            "",
        ]
        return lines

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        first, between = self.ratios(found)
        return [
            Goal("time to first token, median: 4 times what fits over all fits", first, 3.0, at_most=True),
            Goal("99 % between tokens: while others load over quiet", between, 1.2, at_most=True),
        ]

    def ratios(self, found: dict[str, Any]) -> tuple[float, float]:
        """Of the time to the first token, crowded over not; of the time between tokens, loading over quiet."""
        first = self.ratio(found, f"{self.fit} fit", f"{self.adapters} fit", "first_50")
        return first, self.ratio(found, "while others load", "quiet", "between_99")

    @staticmethod
    def ratio(found: dict[str, Any], case: str, to: str, name: str) -> float:
        """The median of each round's ratio."""
        by_round: dict[int, dict[str, float]] = {}
        for row in found["rows"]:
            by_round.setdefault(row["round"], {})[row["case"]] = row[name]
        return float(median(once[case] / once[to] for once in by_round.values()))

    def plot(self, found: dict[str, Any]) -> Plot | None:
        return None


def _resident_bytes(base: BaseModel, adapter: Adapter) -> int:
    with Engine(base, kv_tokens=64) as engine:
        engine.load_adapter(adapter)
        return sum(status.nbytes for status in engine.adapters())


def _percentiles(times: Times) -> dict[str, float]:
    first, between = (quantiles(values, n=100) for values in (times.first, times.between))
    return {
        "first_50": first[49],
        "first_95": first[94],
        "first_99": first[98],
        "between_50": between[49],
        "between_99": between[98],
    }


@contextmanager
def _loading(engine: Engine, adapters: Sequence[Adapter], pause: float) -> Iterator[list[str]]:
    """Others are loaded, over and over, until it is left; the digests of those that were."""
    loaded: list[str] = []
    stop = threading.Event()

    def load() -> None:
        for adapter in cycle(adapters):
            if stop.wait(pause):
                return
            try:
                engine.load_adapter(adapter)
            except UnavailableError:  # no room at the moment
                continue
            loaded.append(adapter.digest)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield loaded
    finally:
        stop.set()
        thread.join()
