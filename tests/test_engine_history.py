"""Random histories: whatever came, went, waited or was put off meanwhile, a request gets what it gets alone.

`--soak` runs them at full length.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from cases import MORE_RECIPES, RECIPES, Case, tiny_case
from conftest import save_random_adapter
from torch import Tensor

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel, Quantization
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.testing import save_tiny_llama
from adapterhub.testing.equality import TIE, Recorder, greedy, recording_engine, run

Count = Callable[[int, int], int]

TOLERANCE = 1e-4
"""Of the unquantized base. A quantized one is measured: adapters may at most double what its own rows show."""
BATCH = 32


@pytest.fixture
def rng() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@dataclass
class Ticket:
    """A request on its way, and what came of it."""

    request: Request
    id: int = 0
    tokens: list[int] = field(default_factory=list)
    last: Event | None = None

    def __call__(self, event: Event) -> None:
        self.tokens += event.token_ids
        if event.finish_reason:
            self.last = event


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 280
    while not done():
        assert time.monotonic() < deadline, "the engine hangs"
        time.sleep(0.002)


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_a_request_of_a_random_history_equals_the_request_alone(
    quantization: Quantization, rng: random.Random, count: Count, tmp_path: Path
) -> None:
    base = save_tiny_llama(tmp_path / "base", hidden=64)
    case = tiny_case(base, tmp_path / "adapters", quantization, [*RECIPES, *MORE_RECIPES])
    assert len(case.adapters) >= 12
    assert len({adapter.peft_type for adapter in case.adapters.values()}) >= 6
    tolerance = TOLERANCE
    if quantization != "none":
        # Maxima are compared, so the base is asked for about as many tokens as the history has.
        own = max(_difference_in_a_batch(case.base, rng) for _ in range(count(4, 16)))
        print(f"{quantization}: a row of the bare base alone and in a batch of {BATCH} differ by {own:.1e} at most")
        assert quantization != "int8" or own == 0, "on int8 no neighbour may change a bit"
        tolerance = 2 * own
    asked = [_request(case, rng) for _ in range(24)]
    alone = {}
    recorder = Recorder()
    with Engine(case.base, kv_tokens=2048, observe=recorder) as engine:
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)
        for index, request in enumerate(asked):
            before = set(recorder.rows)
            (completion,) = engine.generate([request])
            (request_id,) = set(recorder.rows) - before
            alone[index] = (completion.token_ids, torch.stack(recorder.rows[request_id]))
    tickets = _history(case, asked, rng, count(150, 2000))
    ties = compared = 0
    worst = 0.0
    for index, ticket, rows in tickets:
        tokens, logits = alone[index]
        for position, token in enumerate(ticket.tokens):
            drift = float((rows[position] - logits[position]).abs().max())
            worst = max(worst, drift)
            assert drift <= tolerance, f"{ticket.request.adapter or 'base'}: differs by {drift:.1e}"
            compared += 1
            if token != tokens[position]:
                top = logits[position].topk(2).values
                assert float(top[0] - top[1]) <= TIE, f"{ticket.request.adapter or 'base'}: token {position} differs"
                ties += 1
                break  # after a tie the two are different texts
    print(f"{quantization}: {compared} tokens of {len(tickets)} requests differ by {worst:.1e} at most, {ties} ties")
    assert ties <= compared / 100


def _difference_in_a_batch(base: BaseModel, rng: random.Random) -> float:
    """The largest difference between logits of a request alone and beside 31 others, on the bare base."""
    requests = []
    for _ in range(BATCH):
        prompt = [rng.randrange(base.shape.vocab_size) for _ in range(rng.randrange(1, 70))]
        requests.append(greedy(prompt, "", rng.randrange(1, 24)))
    with recording_engine(base, {}) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
    with recording_engine(base, {}) as (engine, recorder):
        together = run(engine, recorder, requests)
    return max(
        float((row.logits[position] - other.logits[position]).abs().max())
        for row, other in zip(alone, together, strict=True)
        for position in range(_same(row.tokens, other.tokens))
    )


def _same(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Positions computed from the same tokens: the first, and those behind equal ones."""
    return next((index + 1 for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def _request(case: Case, rng: random.Random) -> Request:
    start, length = rng.randrange(150), rng.randrange(1, 70)
    sampling = Sampling(max_new_tokens=rng.randrange(1, 24), ignore_eos=True)
    return Request(tuple(range(start, start + length)), rng.choice(["", *case.adapters]), sampling)


def _history(
    case: Case, asked: list[Request], rng: random.Random, count: int
) -> list[tuple[int, Ticket, list[Tensor]]]:
    """Requests that were not cancelled, with their index in `asked` and their logits.

    Little room for adapters and for keys and values, so that both are evicted, preempted and reused; and
    adapters are unloaded and loaded again meanwhile.
    """
    recorder = Recorder()
    tickets: list[tuple[int, Ticket]] = []
    cancelled: set[int] = set()
    with Engine(
        case.base, kv_tokens=400, step_tokens=48, max_sequences=8, adapter_bytes=1 << 18, observe=recorder
    ) as engine:
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)
        for _ in range(count):
            index = rng.randrange(len(asked))
            ticket = Ticket(asked[index])
            ticket.id = engine.submit(ticket.request, ticket)
            tickets.append((index, ticket))
            if rng.random() < 0.15:
                _, victim = rng.choice(tickets)
                cancelled.add(victim.id)
                engine.cancel(victim.id)
            if rng.random() < 0.05:
                digest = rng.choice(list(case.adapters))
                wait_until(lambda: not _loading(engine))  # what waits for an adapter fails when that is unloaded
                engine.unload_adapter(digest)
                engine.load_adapter(case.adapters[digest])
            if rng.random() < 0.1:
                wait_until(lambda: engine.stats().waiting < 12)
                engine.check_integrity()
        wait_until(lambda: all(ticket.last for _, ticket in tickets))
        engine.check_integrity()
        stats = engine.stats()
    print(stats)
    assert stats.preemptions
    assert stats.reused_tokens
    assert stats.evictions
    assert all(ticket.last and ticket.last.error is None for _, ticket in tickets)
    assert all(
        ticket.last and ticket.last.finish_reason == "length" for _, ticket in tickets if ticket.id not in cancelled
    )
    return [(index, ticket, recorder.rows[ticket.id]) for index, ticket in tickets]


def test_a_long_run_gives_everything_back(tiny_base: Path, rng: random.Random, count: Count, tmp_path: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    digests = _many_adapters(base, tmp_path, count(20, 200))
    total = count(400, 10_000)
    threads = set(threading.enumerate())
    resident_memory: list[int] = []
    with Engine(base, kv_tokens=2048, adapter_bytes=1 << 18, host_adapter_bytes=1 << 17) as engine:
        for digest, folder in digests.items():
            engine.load_adapter(replace(read_folder(folder), digest=digest))
        for number in range(1, total + 1):
            prompt = tuple(rng.randrange(2, 250) for _ in range(rng.randrange(1, 12)))
            request = Request(prompt, rng.choice(["", *digests]), Sampling(max_new_tokens=rng.randrange(1, 5)))
            request_id = engine.submit(request, lambda event: None)
            if rng.random() < 0.2:
                engine.cancel(request_id)
            if number % (total // 5) == 0:
                wait_until(lambda: not _busy(engine))
                gc.collect()
                resident_memory.append(_resident_bytes())
            elif number % 200 == 0:
                wait_until(lambda: _busy(engine) < 100)
        stats = engine.stats()
        assert stats.kv_tokens_free == stats.kv_tokens_total
        assert all(not status.running for status in engine.adapters())
    assert set(threading.enumerate()) <= threads
    print(f"resident memory after each fifth: {[f'{n / 1e6:.1f} MB' for n in resident_memory]}; {stats}")
    assert resident_memory[-1] <= 1.05 * resident_memory[0]


def _many_adapters(base: BaseModel, folder: Path, count: int) -> dict[str, Path]:
    """`count` small adapters of three methods, by made-up digests."""
    kinds = [("lora", {"r": 2}), ("bottleneck", {"reduction_factor": 8}), ("prefix_tuning", {"num_virtual_tokens": 3})]
    return {
        f"sha256:{index}": save_random_adapter(folder / str(index), method, base.shape, seed=index, **options)
        for index in range(count)
        for method, options in [kinds[index % len(kinds)]]
    }


def _loading(engine: Engine) -> int:
    engine.check_integrity()  # behind all that was submitted
    return engine.stats().loading


def _busy(engine: Engine) -> int:
    engine.check_integrity()  # behind all that was submitted
    stats = engine.stats()
    return stats.running + stats.waiting + stats.loading


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
