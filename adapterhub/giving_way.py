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
LONGEST = 0.005
SHARE = 0.5
"""Of what others do at a time, that they have after each piece of work."""


class Turns:
    """One thread's: when it has worked for a piece, and how long others have then."""

    def __init__(self, others: Callable[[], float]) -> None:
        self._others = others
        self._due = time.perf_counter() + PIECE

    def give(self) -> None:
        if time.perf_counter() >= self._due:
            time.sleep(min(max(PAUSE, SHARE * self._others()), LONGEST))
            self._due = time.perf_counter() + PIECE


_TURNS: ContextVar[Turns | None] = ContextVar("turns", default=None)


def pace(others: Callable[[], float]) -> None:
    """From now on this thread works in pieces, and lets others have their turn after each.

    `others` gives the seconds of what they do at a time; 0 while they have nothing to do.
    """
    _TURNS.set(Turns(others))


def give_way() -> None:
    """Let others have the interpreter's lock, and a processor, if this thread has worked for a piece."""
    if turns := _TURNS.get():
        turns.give()


def in_pieces(items: Iterable[T]) -> Iterator[T]:
    """The same items; others get their turn between two of them."""
    for item in items:
        yield item
        give_way()
