"""Long work on one thread lets others run beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import Case, tiny_case

from adapterhub import giving_way
from adapterhub.engine import Engine
from adapterhub.engine.loop import WAITING
from adapterhub.engine.request import Event
from adapterhub.giving_way import LONGEST, PAUSE, PIECE, SHARE, Turns
from adapterhub.testing.equality import greedy


class Clock:
    """Goes on by what is worked and slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(giving_way, "time", clock)
    return clock


def work(clock: Clock, turns: Turns, pieces: int) -> None:
    """Ten operations a piece, after each of which others may have their turn."""
    for _ in range(10 * pieces):
        clock.now += 1.01 * PIECE / 10
        turns.give()


@pytest.mark.parametrize(
    ("others", "pause"), [(0.0, PAUSE), (0.004, SHARE * 0.004), (10 * LONGEST, LONGEST)], ids=["idle", "busy", "slow"]
)
def test_others_have_their_turn_after_each_piece(clock: Clock, others: float, pause: float) -> None:
    work(clock, Turns(lambda: others), pieces=5)
    assert clock.slept == [pause] * 5


def test_how_long_follows_what_others_do_meanwhile(clock: Clock) -> None:
    now = [0.002]
    turns = Turns(lambda: now[0])
    work(clock, turns, pieces=1)
    now[0] = 0.008
    work(clock, turns, pieces=1)
    assert clock.slept == [SHARE * 0.002, SHARE * 0.008]


def test_a_thread_that_nobody_paces_never_sleeps(clock: Clock) -> None:
    for _ in giving_way.in_pieces(range(10)):
        clock.now += PIECE
    assert not clock.slept


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("pace"))


def test_loads_give_way_to_the_requests_that_run_by_their_share(case: Case) -> None:
    """On the engine's thread: what one of three that run sees while a fourth waits for its adapter."""
    seen: list[tuple[float, float]] = []
    with Engine(case.base, kv_tokens=2048) as engine:
        loop = engine._loop
        assert loop.giving_way_to == 0, "nothing runs"

        def watch(event: Event) -> None:
            stats = loop.stats()
            if not event.finish_reason and stats.loading:
                share = stats.running / (stats.running + WAITING * stats.loading)
                seen.append((loop.giving_way_to, share * loop.step_seconds))

        cold = next(iter(case.adapters.values()))
        engine._pool.register(cold)
        engine._pool._load = lambda entry: None  # type: ignore[method-assign]  # it never comes
        engine.submit(greedy(range(5, 15), cold.digest, 2), lambda event: None)
        engine.generate([greedy(range(5, 15), "", 8)])
        engine.submit(greedy(range(5, 15), "", 20), watch)
        engine.generate([greedy(range(5, 15), "", 30)] * 2)
    assert seen
    assert all(0 < found == pytest.approx(expected) for found, expected in seen)
