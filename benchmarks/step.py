"""What a decode step costs, and what adapters add to it: the bare base and N distinct adapters, in turn."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel, Quantization
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.plugins import installed_methods
from adapterhub.testing import random_adapter
from adapterhub.testing.equality import held

PATIENCE = 600
"""Seconds without an end after which the engine counts as hung."""


class Cost(NamedTuple):
    """One run of all requests."""

    rate: float
    """Generated tokens a second, the prompts' time included."""
    step: float
    """Milliseconds of a step in which every request decodes."""
    processor: float
    """The same in CPU time of all threads, which other processes move less."""


class Moment(NamedTuple):
    """Clocks at some step of the engine."""

    steps: int
    seconds: float
    processor: float

    @classmethod
    def now(cls, engine: Engine) -> Moment:
        return cls(engine.stats().steps, time.perf_counter(), time.process_time())


@dataclass
class Watch:
    """Looks at the clocks when every request has its first token, and when the first one ends."""

    engine: Engine
    waiting: int
    """Requests without a token."""
    running: int
    all_decode: Moment | None = None
    first_end: Moment | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def receiver(self) -> Receiver:
        return Receiver(self)

    def began(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.all_decode = Moment.now(self.engine)

    def finished(self, error: Exception | None) -> None:
        self.error = self.error or error
        self.first_end = self.first_end or Moment.now(self.engine)
        self.running -= 1
        if not self.running:
            self.ended.set()

    def step(self) -> tuple[float, float]:
        """Milliseconds and CPU milliseconds of a step between the two; no numbers where one ended too early."""
        assert self.all_decode is not None
        assert self.first_end is not None
        steps = self.first_end.steps - self.all_decode.steps
        if steps <= 0:
            return nan, nan
        seconds = self.first_end.seconds - self.all_decode.seconds
        processor = self.first_end.processor - self.all_decode.processor
        return 1000 * seconds / steps, 1000 * processor / steps


class Receiver:
    """One request's events, told to its watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._began = False

    def __call__(self, event: Event) -> None:
        if event.token_ids and not self._began:
            self._began = True
            self._watch.began()
        if event.finish_reason:
            self._watch.finished(event.error)


@dataclass(frozen=True)
class Work:
    """Requests that start together and have the same length; greedy, and nothing ends one early."""

    requests: int
    prompt_tokens: int
    new_tokens: int

    def run(self, engine: Engine, adapters: Sequence[str], seed: int) -> Cost:
        """The requests over `adapters`, by digest, in turn; over the bare base when there are none."""
        rng = random.Random(str(seed))  # of a number, its sign would not matter
        vocab = engine.base.shape.vocab_size
        watch = Watch(engine, self.requests, self.requests)
        sampling = Sampling(max_new_tokens=self.new_tokens, ignore_eos=True)
        with held(engine):
            for index in range(self.requests):
                prompt = tuple(rng.randrange(vocab) for _ in range(self.prompt_tokens))
                adapter = adapters[index % len(adapters)] if adapters else ""
                engine.submit(Request(prompt, adapter, sampling), watch.receiver())
            started = time.perf_counter()
        assert watch.ended.wait(PATIENCE), "the engine hangs"
        if watch.error:
            raise watch.error
        seconds = time.perf_counter() - started
        return Cost(self.requests * self.new_tokens / seconds, *watch.step())


def write_adapters(base: BaseModel, folder: Path, count: int, rank: int) -> list[Adapter]:
    """Random LoRA adapters on every projection of every layer, by made-up digests."""
    method = installed_methods().get("lora")
    config = method.Config.load({"r": rank}, where="benchmark")
    adapters = []
    for index in range(count):
        made = random_adapter.save_random_adapter(
            folder / str(index), method, config, base.shape, seed=index, scale=0.02
        )
        adapters.append(replace(read_folder(made), digest=f"sha256:{index}"))
    return adapters


def table(rounds: Sequence[dict[int, Cost]]) -> str:
    """Medians of the rounds, and medians of each round's ratio to its bare base."""
    lines = [
        f"{'adapters':>8} {'tokens/s':>9} {'of base':>8} {'step ms':>8} {'of base':>8} {'CPU ms':>8} {'of base':>8}"
    ]
    for count in rounds[0]:
        cells = [f"{count or 'base':>8}"]
        for name, width in (("rate", 9), ("step", 8), ("processor", 8)):
            cells.append(f"{median(getattr(once[count], name) for once in rounds):>{width}.1f}")
            cells.append(f"{median(getattr(once[count], name) / getattr(once[0], name) for once in rounds):>8.2f}")
        lines.append(" ".join(cells))
    return "\n".join(lines)


@click.command("step")
@click.option("--base", "ref", default="smollm2-135m", show_default=True)
@click.option("--quantize", type=click.Choice(["none", "int8", "nf4"]), default="int8", show_default=True)
@click.option("--adapters", default="0,1,8,32", show_default=True, help="How many distinct ones; 0 is the bare base.")
@click.option("--rank", default=8, show_default=True)
@click.option("--requests", default=32, show_default=True)
@click.option("--prompt-tokens", default=64, show_default=True)
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Each runs every number of adapters once.")
def command(
    ref: str,
    quantize: Quantization,
    adapters: str,
    rank: int,
    requests: int,
    prompt_tokens: int,
    new_tokens: int,
    rounds: int,
) -> None:
    """Tokens a second and the time of a decode step over the bare base and over N distinct LoRA adapters."""
    counts = sorted({0, *map(int, adapters.split(","))})
    work = Work(requests, prompt_tokens, new_tokens)
    base = BaseModel.load(ref, quantization=quantize)
    found: list[dict[int, Cost]] = []
    with TemporaryDirectory() as folder, Engine(base, max_sequences=requests) as engine:
        digests = []
        for adapter in write_adapters(base, Path(folder), counts[-1], rank):
            engine.load_adapter(adapter)
            digests.append(adapter.digest)
        for count in counts:  # warm
            replace(work, new_tokens=4).run(engine, digests[:count], seed=-1)
        for number in range(rounds):
            order = counts if number % 2 == 0 else counts[::-1]
            once = {count: work.run(engine, digests[:count], seed=number) for count in order}
            found.append({count: once[count] for count in counts})
            click.echo(f"round {number + 1} of {rounds}", err=True)
    click.echo(
        f"{base.record.id}, {quantize}; {requests} requests of {prompt_tokens} + {new_tokens} tokens, LoRA of rank "
        f"{rank} on all projections; medians of {rounds} rounds"
    )
    click.echo(table(found))
