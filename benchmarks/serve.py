"""The service under load: a real server, its client over loopback, and the engine alone beside it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from statistics import mean, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from adapterhub.base import BaseModel, Quantization
from adapterhub.client import AioClient, Client, SamplingOptions, Stats
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.plugins import installed_methods
from adapterhub.store import AdapterRef, Store
from adapterhub.testing import random_adapter
from benchmarks.load import Ask, Load, Question, Said, Taken, joined
from benchmarks.server_process import server_process

RECIPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"r": 8}),
    ("bottleneck", {"placement": "pfeiffer"}),
    ("ia3", {}),
    ("prefix_tuning", {"num_virtual_tokens": 16}),
)
"""Four methods, of which there are two adapters each."""
SAMPLINGS: tuple[SamplingOptions, ...] = ({"temperature": 0.0}, {"temperature": 0.8, "top_p": 0.95, "seed": 7})
"""Greedy, and drawn by a seed."""
WORDS = "the river runs past old houses where people meet at noon to trade bread salt cloth and news of far towns"
PROMPT_WORDS = 24


class Compared(NamedTuple):
    """The engine alone, the server, and the engine alone once more: what drifts meanwhile shows, and cancels out."""

    before: Taken
    server: Taken
    after: Taken
    start: Stats
    end: Stats
    """Of the server, around its load."""

    @property
    def ratio(self) -> float:
        """The server's tokens a second against the engine's."""
        return self.server.rate / mean((self.before.rate, self.after.rate))

    @property
    def reused(self) -> float:
        """Of the server's prompt tokens, the share that the prefix cache gave."""
        return self._share("reused_tokens", "looked_up_tokens")

    @property
    def mixed(self) -> float:
        """Of the server's steps, the share that ran adapters of more than one method."""
        return self._share("mixed_method_steps", "steps")

    def _share(self, part: str, whole: str) -> float:
        taken, of = (getattr(self.end, name) - getattr(self.start, name) for name in (part, whole))
        return float(taken / of)


def compare(
    base: BaseModel, name: str, folder: Path, *, streams: int, seconds: float, new_tokens: int, prompts: int
) -> Compared:
    """Load a server of the base `name`, and `base` in this process for half as long before it and after it."""
    store = Store(folder / "store")
    refs = publish_adapters(base, store, folder, 2 * len(RECIPES))
    options = ["--quantize", base.quantization, "--max-sequences", str(streams), "--max-calls", str(2 * streams)]
    options += [word for ref in refs for word in ("--adapter", str(ref))]
    with (
        Engine(base, max_sequences=streams) as engine,
        server_process(name, store.root, *options) as address,
        Client(address) as client,
    ):
        for ref in refs:
            engine.load_adapter(store.resolve(ref))
        questions = ask_questions(client, refs, new_tokens, prompts)
        load = Load([(question, answer_alone(engine, question)) for question in questions], streams)
        before = asyncio.run(load.run(of_engine(engine), seconds / 2))
        start = client.info().stats
        server = asyncio.run(load_server(address, load, seconds))
        end = client.info().stats
        after = asyncio.run(load.run(of_engine(engine), seconds / 2))
        engine.check_integrity()
    return Compared(before, server, after, start, end)


def publish_adapters(base: BaseModel, store: Store, folder: Path, count: int) -> list[AdapterRef]:
    """Random adapters of the recipes in turn."""
    refs = []
    for index in range(count):
        name, options = RECIPES[index % len(RECIPES)]
        method = installed_methods().get(name)
        config = method.Config.load(options, where="benchmark")
        made = random_adapter.save_random_adapter(
            folder / str(index), method, config, base.shape, seed=index, scale=0.02
        )
        refs.append(store.publish(made, f"{name.replace('_', '-')}-{index}"))
    return refs


def ask_questions(client: Client, refs: Sequence[AdapterRef], new_tokens: int, prompts: int) -> list[Question]:
    """Questions for the adapters in turn: for each, `prompts` greedy ones and as many drawn ones.

    Each has its first token once, so that the server has seen every prompt as the engine will have.
    """
    rng, questions = random.Random(0), []
    for sampling in SAMPLINGS * prompts:
        for ref in refs:
            prompt = " ".join(rng.choices(WORDS.split(), k=PROMPT_WORDS))
            options = SamplingOptions(max_new_tokens=new_tokens, ignore_eos=True, **sampling)
            ids = client.tokenize(prompt, adapter=str(ref))
            client.generate(prompt, adapter=str(ref), max_new_tokens=1)
            questions.append(Question(prompt, ids, str(ref), ref.digest, options))
    return questions


def answer_alone(engine: Engine, question: Question) -> Said:
    """What a question's request gives when nothing else runs."""
    (completion,) = engine.generate([_request(question)])
    return Said(completion.token_ids, completion.text)


def _request(question: Question) -> Request:
    return Request(question.ids, question.digest, Sampling(**question.sampling))


def of_engine(engine: Engine) -> Ask:
    """Asks the engine of this process."""

    async def ask(question: Question) -> AsyncGenerator[Said]:
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def on_event(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        engine.submit(_request(question), on_event)
        detokenizer, reason = Detokenizer(engine.base.tokenizer), None
        while reason is None:
            event = await events.get()
            if event.error:
                raise event.error
            reason = event.finish_reason
            yield Said(event.token_ids, detokenizer.push(event.token_ids))
        yield Said((), detokenizer.flush())

    return ask


async def load_server(address: str, load: Load, seconds: float) -> Taken:
    async with AioClient(address) as client:
        return await load.run(of_server(client), seconds)


def of_server(client: AioClient) -> Ask:
    """Asks a server. Raises AssertionError when the count it tells is not what it sent."""

    async def ask(question: Question) -> AsyncGenerator[Said]:
        pieces = []
        async for piece in client.generate_stream(question.prompt, adapter=question.adapter, **question.sampling):
            pieces.append(Said(piece.token_ids, piece.text))
            yield pieces[-1]
        told = piece.usage and piece.usage.generated_tokens
        assert told == len(joined(pieces).token_ids), f"{told} tokens told, {len(joined(pieces).token_ids)} sent"

    return ask


def table(compared: Compared) -> str:
    """For people to read: milliseconds at the 50th, 95th and 99th percentile."""
    head = ("", "streams", "tokens", "tokens/s", "first token 50 %", "95 %", "99 %", "between 50 %", "95 %", "99 %")
    rows: list[tuple[str, ...]] = [head]
    for name in ("before", "server", "after"):
        taken: Taken = getattr(compared, name)
        times = [f"{1000 * cut:.0f}" for series in (taken.first, taken.between) for cut in _percentiles(series)]
        label = "server" if name == "server" else f"engine {name}"
        rows.append((label, str(taken.streams), str(taken.tokens), f"{taken.rate:.1f}", *times))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(lines)


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[94], cuts[98]


@click.command("serve")
@click.option("--seconds", default=120.0, show_default=True, help="Of load on the server; as long on the engine.")
@click.option("--streams", default=64, show_default=True, help="At a time.")
@click.option("--new-tokens", default=32, show_default=True, help="Of each stream.")
@click.option("--prompts", default=1, show_default=True, help="Of each adapter, greedy and drawn each.")
@click.option("--quantize", type=click.Choice(["none", "int8", "nf4"]), default="int8", show_default=True)
def command(seconds: float, streams: int, new_tokens: int, prompts: int, quantize: Quantization) -> None:
    """A server of SmolLM2 and 8 adapters of 4 methods under load, beside the engine alone; every stream is checked.

    Server, client and engine share the machine. The prompts come again and again, so most of their rows are found in
    the prefix cache. Ends with 1 when a stream failed, or was not what its request gives alone. On a CPU without
    integer matmuls (VNNI) int8 is slow: take none there.
    """
    name = "smollm2-135m"
    base = BaseModel.load(name, quantization=quantize)
    with TemporaryDirectory() as folder:
        found = compare(
            base, name, Path(folder), streams=streams, seconds=seconds, new_tokens=new_tokens, prompts=prompts
        )
    click.echo(
        f"{base.quantization}; {streams} streams over {2 * len(RECIPES)} adapters of {len(RECIPES)} methods, "
        f"{new_tokens} tokens each; {found.mixed:.0%} of the server's steps ran several methods, {found.reused:.0%} of "
        f"its prompt tokens came from the prefix cache; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} "
        "cores; milliseconds"
    )
    click.echo(table(found))
    click.echo(f"server / engine: {found.ratio:.2f} of the tokens a second")
    wrong = [*found.before.wrong, *found.server.wrong, *found.after.wrong]
    for line in wrong[:10]:
        click.echo(line, err=True)
    if wrong:
        raise click.ClickException(f"{len(wrong)} streams failed or differ")
    click.echo("every stream is what its request gives alone")
