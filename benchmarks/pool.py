"""How time to first token grows when the working set of adapters outgrows their room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
from rich.filesize import decimal

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel, Quantization
from adapterhub.engine import Engine
from adapterhub.plugins import installed_methods
from adapterhub.testing import random_adapter
from benchmarks.traffic import Popularity, Traffic, Wait

SIZES = (1.0, 1.25, 1.5, 2.0, 4.0)
"""Working sets, as multiples of the adapters that fit."""
RECIPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"r": 8}),
    ("lora", {"r": 8}),
    ("lora", {"r": 8}),
    ("bottleneck", {"placement": "pfeiffer"}),
    ("lora", {"r": 8}),
    ("ia3", {}),
    ("lora", {"r": 8}),
    ("prefix_tuning", {"num_virtual_tokens": 16}),
)
"""Method and options of each eight adapters; LoRA's target is all-linear, the seven projections."""


class Point(NamedTuple):
    """One working set in one round."""

    waits: list[Wait]
    evictions: int

    @property
    def seconds(self) -> float:
        """Mean time to first token: a request whose adapter must come back counts in full."""
        return mean(wait.seconds for wait in self.waits)

    @property
    def slowest(self) -> float:
        """Seconds that 19 of 20 requests did not exceed."""
        return quantiles([wait.seconds for wait in self.waits], n=20)[-1]

    @property
    def steps(self) -> float:
        """As `seconds`, in steps of the engine."""
        return mean(wait.steps for wait in self.waits)


@dataclass(frozen=True)
class Curve:
    """Adapters enough for the largest working set, and the room of the first `fit` of them."""

    base: BaseModel
    adapters: Sequence[Adapter]
    fit: int
    room: int
    """Bytes."""

    @classmethod
    def of(cls, base: BaseModel, adapters: Sequence[Adapter], fit: int) -> Curve:
        with Engine(base, kv_tokens=64) as engine:
            for adapter in adapters[:fit]:
                engine.load_adapter(adapter)
            room = sum(status.nbytes for status in engine.adapters())
        return cls(base, adapters, fit, room)

    def measure(self, size: float, traffic: Traffic) -> Point:
        """One working set, on an engine of its own that has seen every adapter once."""
        chosen = self.adapters[: int(self.fit * size)]
        with Engine(self.base, adapter_bytes=self.room, host_adapter_bytes=self.room) as engine:
            for adapter in chosen:
                engine.load_adapter(adapter)
            before = engine.stats().evictions
            waits = traffic.run(engine, [adapter.digest for adapter in chosen])
            engine.check_integrity()
            return Point(waits, engine.stats().evictions - before)

    def round(self, number: int, traffic: Traffic) -> dict[float, Point]:
        """Every working set once; every other round goes from the largest to the smallest."""
        once = replace(traffic, seed=traffic.seed + number)
        return {size: self.measure(size, once) for size in SIZES[:: 1 if number % 2 == 0 else -1]}


def write_adapters(base: BaseModel, folder: Path, count: int) -> list[Adapter]:
    """Random adapters of several methods, by made-up digests."""
    adapters = []
    for index in range(count):
        name, options = RECIPES[index % len(RECIPES)]
        method = installed_methods().get(name)
        config = method.Config.load(options, where="benchmark")
        made = random_adapter.save_random_adapter(
            folder / str(index), method, config, base.shape, seed=index, scale=0.02
        )
        adapters.append(replace(read_folder(made), digest=f"sha256:{index}"))
    return adapters


class Ratio(NamedTuple):
    """Time to first token against that of 1x in the same round; the median of the rounds."""

    seconds: float
    steps: float


def ratios(rounds: list[dict[float, Point]]) -> dict[float, Ratio]:
    """The curve: a ratio for each working set."""
    return {
        size: Ratio(
            median(once[size].seconds / once[1.0].seconds for once in rounds),
            median(once[size].steps / once[1.0].steps for once in rounds),
        )
        for size in SIZES
    }


def table(rounds: list[dict[float, Point]]) -> str:
    """The curve for people to read: medians of the rounds, and ratios to 1x."""
    lines = [
        f"{'working set':>12} {'evictions':>9} {'TTFT ms':>8} {'95 % ms':>8} {'of 1x':>6} {'in steps':>8} {'of 1x':>6}"
    ]
    for size, ratio in ratios(rounds).items():
        points = [once[size] for once in rounds]
        evictions = median(point.evictions for point in points)
        seconds, slowest, steps = (median(getattr(p, n) for p in points) for n in ("seconds", "slowest", "steps"))
        lines.append(
            f"{size:>11}x {evictions:>9.0f} {1000 * seconds:>8.0f} {1000 * slowest:>8.0f} {ratio.seconds:>6.2f} "
            f"{steps:>8.1f} {ratio.steps:>6.2f}"
        )
    return "\n".join(lines)


@click.command("pool")
@click.option("--fit", default=8, show_default=True, help="Adapters that have room.")
@click.option("--clients", default=4, show_default=True, help="Requests under way at a time.")
@click.option("--requests", default=32, show_default=True, help="Of each working set in each round.")
@click.option("--rounds", default=3, show_default=True, help="From the smallest working set to the largest, and back.")
@click.option("--popularity", type=click.Choice(["uniform", "zipf"]), default="uniform", show_default=True)
@click.option("--quantize", type=click.Choice(["none", "int8", "nf4"]), default="int8", show_default=True)
def command(fit: int, clients: int, requests: int, rounds: int, popularity: Popularity, quantize: Quantization) -> None:
    """Time to first token while the working set grows to 4 times the adapters that fit; SmolLM2.

    On a CPU without integer matmuls (VNNI) int8 is slow, and hides what a load costs: take none there.
    """
    base = BaseModel.load("smollm2-135m", quantization=quantize)
    traffic = Traffic(clients, requests, popularity)
    with TemporaryDirectory() as folder:
        curve = Curve.of(base, write_adapters(base, Path(folder), int(fit * SIZES[-1])), fit)
        click.echo(
            f"{base.quantization}; {fit} adapters fit, {decimal(curve.room)}: 5 of 8 are LoRA of rank 8 on all "
            f"projections, the others bottleneck, (IA)3 and prefix tuning; {clients} clients in a closed loop, "
            f"{popularity} over the working set, {traffic.prompt_tokens} + {traffic.new_tokens} tokens; medians of "
            f"{rounds} rounds of {requests} "
            "requests; TTFT is the mean of a round"
        )
        found = []
        for number in range(rounds):
            found.append(curve.round(number, traffic))
            click.echo(f"round {number + 1} of {rounds}", err=True)
    click.echo(table(found))
