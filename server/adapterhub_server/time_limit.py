"""An end to what somebody else's program does on this thread: a chat template may loop for ever."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Overdue(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


@contextmanager
def time_limit(seconds: float, error: Exception) -> Iterator[None]:
    """Raises `error` inside once the time is over.

    Python has no other way to end a thread's work from outside. What is not covered: one long step of native code,
    which ends first.
    """
    lock, ended, fired = threading.Lock(), False, False
    thread = threading.get_ident()

    def fire() -> None:
        nonlocal fired
        with lock:
            if not ended:
                fired = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Overdue))

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    try:
        try:
            timer.start()
            yield
        finally:
            here = isinstance(sys.exc_info()[1], _Overdue)
            with lock:
                ended = True
            timer.cancel()
            while fired and not here:  # it is on its way, and must not meet what comes after
                time.sleep(0.001)
    except _Overdue:
        raise error from None
