"""How other threads speak to the engine's thread: commands, done between two steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from adapterhub.errors import EngineStoppedError


class Commands:
    """A queue that can be shut: no command is taken that nobody would do."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._shut = True

    def open(self) -> None:
        self._shut = False

    def send(self, command: Callable[[], object]) -> None:
        """Have a command done. Any thread. Raises EngineStoppedError when the engine is not running."""
        with self._lock:
            if self._shut:
                raise EngineStoppedError("the engine is not running")
            self._queue.put(command)

    def ask(self, command: Callable[[], object]) -> None:
        """Have a command done and wait for it; what it raises is raised here. Any other thread."""
        done: Future[None] = Future()

        def answer() -> None:
            try:
                command()
                done.set_result(None)
            except BaseException as error:  # noqa: BLE001  handed to the thread that asked
                done.set_exception(error)

        self.send(answer)
        done.result()

    def do(self, *, wait: float | None = 0.0) -> bool:
        """Do all commands there are, waiting up to `wait` seconds for the first, or for ever with None.

        The engine's thread. False when there was none.
        """
        done = False
        while True:
            try:
                command = self._queue.get(block=wait != 0, timeout=wait or None)
            except queue.Empty:
                return done
            command()
            done, wait = True, 0.0

    def shut(self) -> None:
        """Take no more commands, and do those that were taken. The engine's thread."""
        with self._lock:
            self._shut = True
        self.do()
