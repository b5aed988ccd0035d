"""Requests as users send them: some clients, each of which asks again when it was answered."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from adapterhub.engine import Engine, Event, Request, Sampling

Popularity = Literal["uniform", "zipf"]
PATIENCE = 600
"""Seconds without any answer after which the engine counts as hung."""


class Wait(NamedTuple):
    """From a request's submission to its first token."""

    seconds: float
    steps: int
    """Steps of the engine, its own clock: the same on a slow machine as on a fast one."""


@dataclass(frozen=True)
class Traffic:
    """A closed loop. The requests' order is a function of `seed`; no two prompts are equal."""

    clients: int
    requests: int
    """In all."""
    popularity: Popularity
    """Of the adapters: each as likely as another, or the k-th with 1/k."""
    prompt_tokens: int = 32
    new_tokens: int = 12
    seed: int = 0

    def run(self, engine: Engine, adapters: Sequence[str]) -> list[Wait]:
        """Send the requests to `adapters`, by digest. Raises the error of the first that failed."""
        rng = random.Random(self.seed)
        weights = [1 / rank if self.popularity == "zipf" else 1.0 for rank in range(1, len(adapters) + 1)]
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        waits: list[Wait] = []
        asked = answered = 0
        while answered < self.requests:
            while asked < self.requests and asked - answered < self.clients:
                (digest,) = rng.choices(adapters, weights)
                prompt = tuple(rng.randrange(engine.base.shape.vocab_size) for _ in range(self.prompt_tokens))
                request = Request(prompt, digest, Sampling(max_new_tokens=self.new_tokens, ignore_eos=True))
                engine.submit(request, _Receiver(engine, waits, events))
                asked += 1
            if error := events.get(timeout=PATIENCE).error:
                raise error
            answered += 1
        return waits


class _Receiver:
    """Notes when a request's first token came, and passes its last event on."""

    def __init__(self, engine: Engine, waits: list[Wait], ended: queue.SimpleQueue[Event]) -> None:
        self._engine = engine
        self._waits = waits
        self._ended = ended
        self._sent: float | None = time.perf_counter()
        self._step = engine.stats().steps

    def __call__(self, event: Event) -> None:
        if self._sent is not None and event.token_ids:
            steps = self._engine.stats().steps - self._step
            self._waits.append(Wait(time.perf_counter() - self._sent, steps))
            self._sent = None
        if event.finish_reason:
            self._ended.put(event)
