"""Requests that arrive whether or not others have ended: Poisson arrivals, adapters by a Zipf law."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapterhub.engine import Engine, Event, Request, Sampling

PATIENCE = 600
"""Seconds without an end after which the engine counts as hung."""


@dataclass
class Times:
    """Seconds of one load; filled as tokens come."""

    first: list[float] = field(default_factory=list)
    """From a request's arrival to its first token."""
    between: list[float] = field(default_factory=list)
    """From one token of a request to its next."""
    error: Exception | None = None


class Stopwatch:
    """Receives one request's events."""

    def __init__(self, times: Times, ended: threading.Semaphore) -> None:
        self._times = times
        self._ended = ended
        self._last = time.perf_counter()
        self._began = False

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if event.token_ids:
            (self._times.between if self._began else self._times.first).append(now - self._last)
            self._began, self._last = True, now
        if event.finish_reason:
            self._times.error = self._times.error or event.error
            self._ended.release()


@dataclass(frozen=True)
class Arrivals:
    """`count` requests, `rate` a second on average, each for the k-th adapter with weight 1/k."""

    count: int
    rate: float
    prompt_tokens: int
    new_tokens: int

    def run(self, engine: Engine, adapters: Sequence[str], seed: int) -> Times:
        """Raises the error of the first request that failed."""
        rng = random.Random(str(seed))  # of a number, its sign would not matter
        weights = [1 / rank for rank in range(1, len(adapters) + 1)]
        times, ended = Times(), threading.Semaphore(0)
        sampling = Sampling(max_new_tokens=self.new_tokens, ignore_eos=True)
        due = time.perf_counter()
        for _ in range(self.count):
            due += rng.expovariate(self.rate)
            (digest,) = rng.choices(adapters, weights)
            prompt = tuple(rng.randrange(engine.base.shape.vocab_size) for _ in range(self.prompt_tokens))
            time.sleep(max(0.0, due - time.perf_counter()))
            engine.submit(Request(prompt, digest, sampling), Stopwatch(times, ended))
        for _ in range(self.count):
            assert ended.acquire(timeout=PATIENCE), "the engine hangs"
        if times.error:
            raise times.error
        return times
