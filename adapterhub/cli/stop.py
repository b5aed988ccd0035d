"""Ctrl-C on a run that can be resumed: it ends after the step it is at."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TOLD = b"\nstopping after this step; once more stops at once\n"


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Gives what says whether SIGINT or SIGTERM came. The second one acts as it always does."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()
        os.write(2, TOLD)  # a handler may not wait for the lock of `sys.stderr`

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
