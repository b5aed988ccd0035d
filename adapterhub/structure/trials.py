"""Trying grammars in processes that may die of them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.errors import UnavailableError

PROGRAM = Path(__file__).with_name("trial.py")
CPU_SECONDS = 1
"""Of the processor for one trial; the kernel counts in whole seconds, so up to one more."""
WALL_SECONDS = 10.0
"""For one trial on a machine however busy."""
START_SECONDS = 60.0
MASK_SECONDS = 0.1
"""Of the processor for one token of a trial; usual is a ten-thousandth of a second."""
MEMORY_BYTES = 2 << 30
LIMITS: dict[str, Any] = {
    "step_lexer_fuel": 100_000,
    "max_lexer_states": 50_000,
    "verbose_errors": False,
}
"""The library's own, where they are tighter than its defaults: what one token and one text may cost."""


class Vocabulary(NamedTuple):
    """A base's tokens, as the library takes them."""

    tokenizer: str
    """`tokenizer.json`."""
    vocab: int
    """Tokens that the base gives logits for."""
    eos: tuple[int, ...]
    """Those that end a text."""


class Trials:
    """One process, started when it is first needed and again when a grammar has ended it. One thread at a time."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        """Of starting and closing."""
        self._closed = False

    def reason(self, grammar: str) -> str:
        """Why a grammar is refused; empty if it is not. Raises UnavailableError when there is no process to try it."""
        process = self.start()
        answer = _ask(process, grammar, WALL_SECONDS)
        if answer is not None:
            return answer
        code = process.wait()
        self._process = None
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return f"takes over {CPU_SECONDS} s of the processor to compile"
        return "too large or too deeply nested to compile"

    def start(self) -> subprocess.Popen[str]:
        """The process, ready."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        with self._lock:
            if self._closed:
                raise UnavailableError("the engine is not running")
            # By path and with -P: the program imports the library, and neither the project nor its neighbours.
            self._process = process = subprocess.Popen(  # noqa: S603  a file of ours
                [sys.executable, "-P", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # a Ctrl-C is the parent's
            )
        opening = {
            **self._vocabulary._asdict(),
            "limits": LIMITS,
            "cpu_seconds": CPU_SECONDS,
            "mask_seconds": MASK_SECONDS,
            "memory_bytes": MEMORY_BYTES,
        }
        if _ask(process, opening, START_SECONDS) is None:
            raise UnavailableError(f"the process that tries structures did not start (exit {process.wait()})")
        return process

    def kill(self) -> None:
        """End the process, whatever it does, and start none again. Any thread."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """After `kill`, when no thread asks any more."""
        if self._process is not None:
            _bury(self._process)


def _ask(process: subprocess.Popen[str], message: object, seconds: float) -> str | None:
    """A process's answer; None when it has ended instead, or did not answer in time and was killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except (OSError, ValueError):  # it has died, or was closed
        line = ""
    finally:
        timer.cancel()
    if line.endswith("\n"):
        return str(json.loads(line))
    _bury(process)
    return None


def _bury(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what it did not read
            pipe.close()
