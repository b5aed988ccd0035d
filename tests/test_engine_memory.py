"""KV blocks: shared where content is equal, given back under pressure, never lost; and nobody starves."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cases import Case, tiny_case
from conftest import save_random_adapter
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub.adapter import read_folder
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.engine.block_pool import BlockPool
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.testing.equality import assert_equal, greedy, held, recording_engine, run


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("memory"), "int8")


@pytest.fixture
def engine(case: Case) -> Iterator[Engine]:
    with Engine(case.base, kv_tokens=64 * BLOCK_TOKENS) as engine:
        yield engine
        engine.check_integrity()


def test_a_closed_engine_holds_no_memory_whoever_still_refers_to_it(case: Case) -> None:
    adapter = next(iter(case.adapters.values()))
    with Engine(case.base, kv_tokens=1024, host_adapter_bytes=1 << 20) as engine:
        engine.load_adapter(adapter)
        held_tensors = [weakref.ref(each) for each in engine._cache.keys]
        (resident,) = engine._pool._resident.values()
        held_adapter = weakref.ref(resident)
        del resident
    assert [each() for each in held_tensors] == [None] * len(held_tensors)
    assert held_adapter() is None
    assert engine.adapters()[0].tier != "resident"


def test_too_few_blocks_change_no_token(case: Case) -> None:
    """Sequences are preempted and computed again; on int8 each row is still the same to the bit."""
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in case.requests]
        looked_up = engine.stats().looked_up_tokens
    with recording_engine(case.base, case.adapters, step_tokens=40, kv_tokens=192) as (engine, recorder):
        assert_equal(engine, recorder, case.requests, alone, tolerance=0.0)
        assert engine.stats().preemptions > 5
        holders = len(case.requests) - 1  # each `run` holds the engine with a request of one token
        assert engine.stats().looked_up_tokens == looked_up - holders, "a preempted sequence was counted again"


def test_a_repeated_prompt_is_found_in_the_cache(engine: Engine) -> None:
    request = greedy(range(10, 60), "", 4)
    first = engine.generate([request])
    assert engine.stats().reused_tokens == 0
    assert engine.generate([request]) == first
    assert engine.stats().reused_tokens == 48
    assert engine.stats().looked_up_tokens == 2 * 50


def test_tenants_and_adapters_share_no_cached_rows(case: Case, engine: Engine) -> None:
    digest = next(iter(case.adapters))
    engine.load_adapter(case.adapters[digest])
    request = greedy(range(10, 60), "", 4)
    engine.generate([request])
    engine.generate([replace(request, salt="tenant")])
    engine.generate([replace(request, adapter=digest)])
    assert engine.stats().reused_tokens == 0
    engine.generate([replace(request, salt="tenant")])
    assert engine.stats().reused_tokens == 48


def test_an_adapter_of_the_head_alone_shares_the_bases_rows(case: Case, tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path, "lora", case.base.shape, target_modules=["lm_head"])
    adapter = replace(read_folder(folder), digest="sha256:head")
    base_request = greedy(range(10, 60), "", 6)
    request = replace(base_request, adapter="sha256:head")
    with Engine(case.base, kv_tokens=1024) as engine:
        engine.load_adapter(adapter)
        alone = engine.generate([request])
    with Engine(case.base, kv_tokens=1024) as engine:
        engine.load_adapter(adapter)
        assert engine.generate([base_request]) != alone
        assert engine.generate([request]) == alone
        assert engine.stats().reused_tokens == 48


def test_virtual_tokens_are_computed_once(case: Case, engine: Engine) -> None:
    digest = next(digest for digest in case.adapters if "p_tuning" in digest)
    engine.load_adapter(case.adapters[digest])
    prefilled = []
    for prompt in (range(10, 20), range(30, 40)):
        before = engine.stats().prompt_tokens
        engine.generate([greedy(prompt, digest, 2)])
        prefilled.append(engine.stats().prompt_tokens - before)
    assert prefilled == [17 + 10, 10]


def test_one_adapters_flood_does_not_starve_another(case: Case) -> None:
    assert _steps_to_first_token(case, flood=100) <= 2 * _steps_to_first_token(case, flood=1)


def _steps_to_first_token(case: Case, flood: int) -> int:
    """Steps until a lone request of one adapter has its first token, behind `flood` requests of another."""
    flooding, lone = list(case.adapters)[:2]
    first: list[int] = []
    with Engine(case.base, kv_tokens=8192, step_tokens=64, max_sequences=8) as engine:
        for digest in (flooding, lone):
            engine.load_adapter(case.adapters[digest])

        def on_event(event: Event) -> None:
            if not first:
                first.append(engine.stats().steps)

        with held(engine):
            for index in range(flood):
                engine.submit(greedy(range(index, index + 40), flooding, 30), lambda event: None)
            engine.submit(greedy(range(50, 90), lone, 4), on_event)
        while not first:
            engine.check_integrity()
    return first[0]


def test_a_random_history_loses_nothing(case: Case) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    names = ["", *case.adapters]
    with Engine(case.base, kv_tokens=512, step_tokens=48, max_sequences=6) as engine:
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)
        for _ in range(120):
            start, count = rng.randrange(200), rng.randrange(1, 50)
            options = Sampling(max_new_tokens=rng.randrange(1, 30), temperature=rng.choice([0.0, 1.0]), seed=start)
            request = Request(tuple(range(start, start + count)), rng.choice(names), options, rng.choice(["", "t"]))
            request_id = engine.submit(request, lambda event: None)
            if rng.random() < 0.3:
                engine.cancel(request_id)
            if rng.random() < 0.2:
                engine.check_integrity()
        while engine.stats().running or engine.stats().waiting:
            engine.check_integrity()
        engine.check_integrity()


@given(st.lists(st.tuples(st.sampled_from(["take", "release", "remember", "find"]), st.integers(0, 7)), max_size=60))
@settings(max_examples=200)
def test_the_block_pool_never_loses_a_block(moves: list[tuple[str, int]]) -> None:
    pool = BlockPool(5)
    blocks: list[int] = []
    for move, number in moves:
        if move == "take" and pool.available:
            blocks.append(pool.take())
        elif move == "release" and blocks:
            pool.release(blocks.pop(number % len(blocks)))
        elif move == "remember" and blocks:
            pool.remember(blocks[number % len(blocks)], bytes([number]))
        elif move == "find":
            for block in pool.find([bytes([number])]):
                pool.hold(block)
                blocks.append(block)
        pool.check_integrity()
    for block in blocks:
        pool.release(block)
    assert pool.available == pool.num_blocks
