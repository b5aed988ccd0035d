"""Long work on one thread that others have to run beside.

A thread that wants the interpreter's lock gets it when the one that has it lets go of it for longer than it takes to
wake up, or after 5 ms: operations that let go for microseconds are not enough. A step in which requests are decoded
wants the lock a dozen times, and all processors in between: work that is paced leaves it most of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

PIECE = 0.0004
"""Seconds of work after which others get their turn."""
PAUSE = 0.00005
"""Seconds that a thread needs to wake up."""
LONG_PAUSE = 0.004
"""Seconds that others have after each piece of paced work, while they are busy."""
_BUSY: ContextVar[Callable[[], bool]] = ContextVar("busy", default=lambda: False)


def pace(busy: Callable[[], bool]) -> None:
    """This thread's work is slowed down from now on while others are `busy`."""
    _BUSY.set(busy)


def give_way() -> None:
    """Let threads that wait for the interpreter's lock, or for a processor, have it."""
    time.sleep(LONG_PAUSE if _BUSY.get()() else PAUSE)


def in_pieces(items: Iterable[T]) -> Iterator[T]:
    """The same items; whoever waits gets a turn every so often between two of them."""
    due = time.perf_counter() + PIECE
    for item in items:
        yield item
        if time.perf_counter() > due:
            give_way()
            due = time.perf_counter() + PIECE
