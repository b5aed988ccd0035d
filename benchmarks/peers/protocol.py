"""What a driver and the process that started it say to each other: JSON objects, one a line, an answer to each job.

    {"job": "load", "model": folder, "adapters": [folders], "cache": folder, "options": {...}}
        -> {"seconds": 3.2, "versions": {"torch": "2.13.0"}}
    {"job": "run", "requests": [{"prompt": [ids], "adapter": index or null}], "new_tokens": 64}
        -> {"seconds": 1.9, "tokens": 2048, "answers": [[ids]]}
    either, when it cannot be done -> {"error": "what happened"}

A run's requests start together. They are greedy, nothing ends one before `new_tokens`, and no prompt's computation may
be reused from an earlier run. Runs on the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Ask(NamedTuple):
    """One request of a run."""

    prompt: list[int]
    adapter: int | None
    """Index into the loaded adapters; None is the bare base."""


class Load(NamedTuple):
    """What a contender is to hold."""

    model: Path
    """A folder with config.json and safetensors."""
    adapters: list[Path]
    """Folders in PEFT's layout. Without any, the contender runs as if it knew none."""
    cache: Path
    """For what is made of model and adapters once: exports, conversions."""
    options: dict[str, Any]
    """The driver's own."""


class Driver(Protocol):
    """One contender."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose versions belong to the figures."""
        ...

    def load(self, job: Load) -> None: ...

    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        """The answers, in the order of the requests. All of it is timed."""
        ...

    def close(self) -> None: ...


def serve(driver: Driver) -> None:
    """Do the jobs that come in until no more do. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            try:
                answer = _do(driver, json.loads(line))
            except Exception as error:  # noqa: BLE001  the one who asked is told, whatever it is
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        driver.close()


def _do(driver: Driver, job: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    if job["job"] == "load":
        folders = [Path(folder) for folder in job["adapters"]]
        driver.load(Load(Path(job["model"]), folders, Path(job["cache"]), job["options"]))
        return {"seconds": time.perf_counter() - started, "versions": _versions(driver.libraries)}
    requests = [Ask(request["prompt"], request["adapter"]) for request in job["requests"]]
    started = time.perf_counter()
    answers = driver.run(requests, job["new_tokens"])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(map(len, answers)), "answers": answers}


def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "?"
    return found
