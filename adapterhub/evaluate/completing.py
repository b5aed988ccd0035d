"""Answers to many requests, in batches that mix adapters and the bare base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from threading import BoundedSemaphore

from adapterhub.engine import Completion, Engine, Event, Request
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.engine.waiters import Collector


def complete(
    engine: Engine, groups: Sequence[Sequence[Request]], on_answer: Callable[[], None] = lambda: None
) -> list[list[Completion]]:
    """The answers, group by group as the requests; the first of every group run together, then the second.

    The engine is this call's alone. `on_answer` is called after each answer, on the engine's thread.
    Raises the error of the first request that failed, and ends the others.
    """
    room = BoundedSemaphore(max(1, engine.limits.max_requests // 2))  # half: a seat is given back after the last event
    collectors: list[list[Collector]] = [[] for _ in groups]
    ids = []

    def receiver(collector: Collector) -> Callable[[Event], None]:
        def receive(event: Event) -> None:
            collector(event)
            if event.error or event.finish_reason:
                room.release()
                on_answer()

        return receive

    try:
        for requests in zip_longest(*groups):
            for index, request in enumerate(requests):
                if request is not None:
                    collector = Collector(Detokenizer(engine.base.tokenizer))
                    collectors[index].append(collector)
                    room.acquire()
                    ids.append(engine.submit(request, receiver(collector)))
        return [[collector.result() for collector in group] for group in collectors]
    except BaseException:
        for request_id in ids:
            engine.cancel(request_id)
        raise
