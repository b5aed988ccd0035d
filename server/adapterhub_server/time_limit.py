"""An end to what somebody else's program does on this thread: a chat template may loop for ever."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 0.05
"""Seconds between two looks at what is watched."""


class _Overdue(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


class _Watched:
    """Work on the thread that makes it."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.fired = False
        self._thread = threading.get_ident()

    def fire(self) -> None:
        self.fired = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(_Overdue))


class _Watch:
    """One thread for all that is watched: to start one for each would take longer than most of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[_Watched] = set()
        self._any = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, watched: _Watched) -> None:
        with self._lock:
            self._watched.add(watched)
            self._any.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adapterhub-limits", daemon=True)
                self._thread.start()

    def remove(self, watched: _Watched) -> None:
        """It is not fired from now on."""
        with self._lock:
            self._watched.discard(watched)

    def _run(self) -> None:
        while self._any.wait():
            time.sleep(TICK)
            with self._lock:
                for overdue in [each for each in self._watched if each.deadline <= time.monotonic()]:
                    self._watched.remove(overdue)
                    overdue.fire()
                if not self._watched:
                    self._any.clear()


_WATCH = _Watch()


@contextmanager
def time_limit(seconds: float, error: Exception) -> Iterator[None]:
    """Raises `error` inside once the time is over, to a twentieth of a second.

    Python has no other way to end a thread's work from outside. What is not covered: one long step of native code,
    which ends first.
    """
    watched = _Watched(seconds)
    try:
        try:
            _WATCH.add(watched)
            yield
        finally:
            here = isinstance(sys.exc_info()[1], _Overdue)
            _WATCH.remove(watched)
            while watched.fired and not here:  # it is on its way, and must not meet what comes after
                time.sleep(0.001)
    except _Overdue:
        raise error from None
