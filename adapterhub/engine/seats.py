"""How many requests there may be, and how soon there is room for one more."""

from __future__ import annotations

import threading
import time
from collections import deque

from adapterhub.errors import QueueFullError

REMEMBERED = 32
"""Ends that the estimate is made of."""
FIRST_GUESS = 1.0
"""Seconds to say before any request has ended."""
LONGEST = 60.0


class Seats:
    """Owns the seats of all requests, waiting and running. Any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.BoundedSemaphore(count)
        self._ends: deque[float] = deque(maxlen=REMEMBERED)
        """When the last requests ended, on the monotonic clock."""

    def take(self, *, wait: bool) -> None:
        """Take a seat; with `wait`, once there is one. Raises QueueFullError, saying when to try again."""
        if not self._free.acquire(blocking=wait):
            seconds = self._next_end(time.monotonic())
            raise QueueFullError(
                f"{self._count} requests are waiting or running; try again in {seconds:.1f} s", retry_after=seconds
            )

    def give_back(self) -> None:
        self._ends.append(time.monotonic())
        self._free.release()

    def _next_end(self, now: float) -> float:
        """Seconds in which one more request should have ended: the mean time between ends, the wait since included."""
        if not (ends := tuple(self._ends)):
            return FIRST_GUESS
        return min(max((now - ends[0]) / len(ends), 0.1), LONGEST)
