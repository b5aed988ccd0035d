"""Comparing what a mixed batch gives each row with what the same request gets alone."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.engine.sequence import Sequence
from adapterhub.plugins import Methods

TIE = 1e-4
"""Two top logits closer than this may swap places."""
PATIENCE = 120
"""Seconds after which a request counts as lost."""


class Row(NamedTuple):
    """What one request got: its tokens, and the logits each was chosen from."""

    tokens: tuple[int, ...]
    logits: Tensor


@dataclass
class Report:
    """What a comparison met."""

    tokens: int = 0
    ties: int = 0
    drift: float = 0.0
    """The largest difference between logits."""


@dataclass
class Recorder:
    """Collects the logits of every sampled row, by request."""

    rows: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, sequence: Sequence, logits: Tensor) -> None:
        self.rows[sequence.id].append(logits.clone())


@contextmanager
def recording_engine(
    base: BaseModel,
    adapters: Mapping[str, Adapter],
    *,
    step_tokens: int = 256,
    kv_tokens: int = 4096,
    methods: Methods | None = None,
) -> Iterator[tuple[Engine, Recorder]]:
    """An engine with these adapters resident, and what it observed."""
    recorder = Recorder()
    with Engine(base, observe=recorder, step_tokens=step_tokens, kv_tokens=kv_tokens, methods=methods) as engine:
        for adapter in adapters.values():
            engine.load_adapter(adapter)
        yield engine, recorder
        engine.check_integrity()


def run(engine: Engine, recorder: Recorder, requests: list[Request]) -> list[Row]:
    """Run requests together, all of them from the same step on. Rows in order.

    Raises the error of the first request that failed.
    """
    inboxes = [_Inbox() for _ in requests]
    with held(engine):
        ids = [engine.submit(request, inbox) for request, inbox in zip(requests, inboxes, strict=True)]
    tokens = [inbox.tokens() for inbox in inboxes]
    return [Row(tokens[i], torch.stack(recorder.rows[request_id])) for i, request_id in enumerate(ids)]


class _Inbox:
    """Receives one request's events."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self._events.append(event)
        if event.finish_reason:
            self._ended.set()

    def tokens(self) -> tuple[int, ...]:
        assert self._ended.wait(PATIENCE), "a request did not end"
        if error := self._events[-1].error:
            raise error
        return tuple(token for event in self._events for token in event.token_ids)


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """The engine between two steps, so that what is submitted starts together."""
    holds, free = threading.Event(), threading.Event()

    def hold(_: Event) -> None:
        holds.set()
        free.wait(PATIENCE)

    engine.submit(greedy([0], "", 1), hold)
    assert holds.wait(PATIENCE), "a request did not end"
    try:
        yield
    finally:
        free.set()


def assert_equal(
    engine: Engine, recorder: Recorder, requests: list[Request], alone: list[Row], *, tolerance: float = 1e-4
) -> Report:
    """The requests, run together, give the rows they gave alone.

    A differing token counts as a tie only where the two top logits of the run alone are within TIE;
    the request then goes on from the token that the run alone chose.
    """
    report = Report()
    pending = [(request, 0, row) for request, row in zip(requests, alone, strict=True)]
    while pending:
        together = run(engine, recorder, [_from(request, start, row) for request, start, row in pending])
        ties = []
        for (request, start, row), got in zip(pending, together, strict=True):
            expected = row.tokens[start:]
            same = next((i for i, (a, b) in enumerate(zip(expected, got.tokens, strict=True)) if a != b), None)
            compared = len(expected) if same is None else same + 1
            drift = float((row.logits[start : start + compared] - got.logits[:compared]).abs().max())
            report.drift = max(report.drift, drift)
            report.tokens += compared
            assert drift <= tolerance, f"adapter {request.adapter or 'base'}: logits differ by {drift:.2e}"
            if same is not None:
                top = row.logits[start + same].topk(2).values
                assert float(top[0] - top[1]) <= TIE, (
                    f"adapter {request.adapter or 'base'}: token {start + same} differs"
                )
                report.ties += 1
                if start + same + 1 < len(row.tokens):
                    ties.append((request, start + same + 1, row))
        pending = ties
    assert report.ties <= report.tokens / 100, f"{report.ties} ties in {report.tokens} tokens"
    return report


def _from(request: Request, start: int, row: Row) -> Request:
    """The rest of a request, after the first `start` tokens that the run alone chose."""
    sampling = request.sampling.model_copy(update={"max_new_tokens": len(row.tokens) - start})
    return replace(request, prompt_ids=(*request.prompt_ids, *row.tokens[:start]), sampling=sampling)


def greedy(prompt: Tensor | Iterable[int], adapter: str, count: int) -> Request:
    """A greedy request of exactly `count` tokens."""
    sampling = Sampling(max_new_tokens=count, ignore_eos=True)
    return Request(tuple(int(token) for token in prompt), adapter, sampling)


def teacher_forced(model: torch.nn.Module, request: Request, row: Row) -> Tensor:
    """A plain model's logits for each generated token of a row, `[tokens, vocab]`, in one forward without a cache."""
    ids = torch.tensor([[*request.prompt_ids, *row.tokens]])
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    return logits[-len(row.tokens) - 1 : -1].float()
