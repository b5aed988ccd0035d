"""A contender of the bench: a driver in a process of its own, asleep while others run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.protocol import Ask

ROOT = Path(__file__).parent.parent


class ContenderError(Exception):
    """A contender could not do what it was asked to; the text says why."""


class Run(NamedTuple):
    """One run of all requests, as the driver timed it."""

    seconds: float
    tokens: int
    """Generated ones."""
    answers: list[list[int]]

    @property
    def rate(self) -> float:
        """Generated tokens a second, the prompts' time included."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Recipe:
    """How a contender is started."""

    name: str
    """As in the tables: openvino-int8."""
    driver: str
    """Module under `benchmarks.peers`."""
    python: Path
    options: dict[str, Any] = field(default_factory=dict)
    """The driver's own."""
    variables: dict[str, str] = field(default_factory=dict)
    """Of its environment."""


class Contender:
    """A started driver. Between jobs all of its processes are stopped, so that nobody's threads spin beside a run."""

    def __init__(self, recipe: Recipe, log: Path) -> None:
        self.name = recipe.name
        self.loaded: dict[str, Any] = {}
        """What the driver told when it had loaded: seconds, versions."""
        self._recipe = recipe
        self._log = log
        with log.open("a") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                [recipe.python, "-m", f"benchmarks.peers.{recipe.driver}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=os.environ | recipe.variables,
                process_group=0,  # of its own, which is stopped and ended as a whole
            )

    def load(self, model: Path, adapters: Sequence[Path], cache: Path) -> None:
        """Raises ContenderError with the driver's reason."""
        job = {"job": "load", "model": str(model), "adapters": [str(folder) for folder in adapters]}
        self.loaded = self._ask(job | {"cache": str(cache), "options": self._recipe.options})

    def run(self, requests: Sequence[Ask], new_tokens: int) -> Run:
        """Raises ContenderError, also when an answer has another length than it should."""
        asked = [request._asdict() for request in requests]
        run = Run(**self._ask({"job": "run", "requests": asked, "new_tokens": new_tokens}))
        if [len(answer) for answer in run.answers] != [new_tokens] * len(requests):
            lengths = sorted({len(answer) for answer in run.answers})
            raise ContenderError(f"{self.name}: {len(run.answers)} answers of {lengths} tokens, not {new_tokens}")
        return run

    def close(self) -> None:
        """End the driver and what it started. It holds nothing that is worth a goodbye."""
        self._signal(signal.SIGKILL)
        self._process.communicate()

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderError(f"{self.name}: its driver ended; see {self._log}")
        self._signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(f"{self.name}: {answer['error']}")
        return answer

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


@contextlib.contextmanager
def loaded(recipe: Recipe, model: Path, adapters: Sequence[Path], *, cache: Path, logs: Path) -> Iterator[Contender]:
    """A contender that holds `model` and `adapters`, until the block ends. Raises ContenderError."""
    logs.mkdir(parents=True, exist_ok=True)
    contender = Contender(recipe, logs / f"{recipe.name}.log")
    try:
        contender.load(model, adapters, cache)
        yield contender
    finally:
        contender.close()
