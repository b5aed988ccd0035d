"""The demo's second half: a server in its own process, and a client that asks it for many adapters at once."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple, Self

from rich.console import Console
from rich.table import Table

from adapterhub.client import Client
from adapterhub.data import read_dataset
from adapterhub.demo.recipe import SERVE_QUANTIZATION
from adapterhub.errors import UnavailableError
from adapterhub.store import AdapterRef
from adapterhub.tasks import ORDERS, TICKETS, Task

PROMPTS_PER_TASK = 3
BASE_TOKENS = 32
"""The bare base chats on; its answers are cut here."""


class Answer(NamedTuple):
    """One streamed answer."""

    prompt: str
    adapter: str
    text: str
    pieces: int
    tokens: int


class Serving:
    """A server of one base for as long as the context lasts, and what it answered."""

    def __init__(self, base: str, console: Console) -> None:
        self._base = base
        self._console = console
        self._answers: list[Answer] = []
        self._tokens = 0
        self._seconds = 0.0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "adapterhub", "serve", "--base", self._base, "--quantize", SERVE_QUANTIZATION]
        self._process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)  # noqa: S603
        try:
            self._client = Client(_address(self._process))
            self._client.wait_ready(timeout=120)
        except BaseException:
            self._stop()
            raise
        info = self._client.info()
        self._console.print(
            f"[bold]2. Serve[/bold] at {self._client.address}: {info.base_id}, {info.quantization}, "
            f"{info.weight_bytes / 1e6:.0f} MB of weights"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._stop()

    def ask(self, refs: Sequence[tuple[AdapterRef, Task]]) -> None:
        """Stream answers of every adapter and of the bare base, all at the same time."""
        asked = [[(prompt, ref.label) for prompt in _prompts(task)] for ref, task in refs]
        asked += [[(prompt, "") for prompt in _prompts(task)] for task in (ORDERS, TICKETS)]
        questions = list(chain.from_iterable(zip(*asked, strict=True)))
        started = time.monotonic()
        with ThreadPoolExecutor(len(questions)) as pool:
            answers = list(pool.map(lambda question: self._stream(*question), questions))
        self._seconds += time.monotonic() - started
        self._tokens += sum(answer.tokens for answer in answers)
        self._answers = answers

    def report(self, console: Console) -> list[str]:
        """Print the last answers and what the steps shared; the goals that were missed."""
        table = Table(title="Answers of one server, streamed at the same time", show_lines=True)
        for column in ("prompt", "adapter", "answer", "pieces"):
            table.add_column(column, overflow="fold")
        for answer in sorted(self._answers, key=lambda answer: answer.prompt):
            question = answer.prompt.splitlines()[-1]
            table.add_row(question, answer.adapter or "(bare base)", answer.text.strip(), str(answer.pieces))
        console.print(table)
        stats = self._client.info().stats
        console.print(
            f"steps: {stats.steps}, of which {stats.mixed_adapter_steps} ran more than one adapter together and "
            f"{stats.mixed_method_steps} more than one method; "
            f"{self._tokens} tokens in {self._seconds:.1f} s, {self._tokens / self._seconds:.1f} tokens/s"
        )
        return [] if stats.mixed_method_steps else ["no step ran more than one method together"]

    def _stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def _stream(self, prompt: str, adapter: str) -> Answer:
        pieces = list(self._client.generate_stream(prompt, adapter=adapter, max_new_tokens=BASE_TOKENS))
        text = "".join(piece.text for piece in pieces)
        return Answer(prompt, adapter, text, len(pieces), sum(len(piece.token_ids) for piece in pieces))


def _prompts(task: Task) -> list[str]:
    return [pair.prompt for pair in read_dataset(task.test).pairs[:PROMPTS_PER_TASK]]


def _address(process: subprocess.Popen[str]) -> str:
    """Where the server listens, from the line it prints when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"\d+\.\d+\.\d+\.\d+:\d+", line)
    if found is None:
        raise UnavailableError(f"the server did not start: {line.strip() or 'it printed nothing'}")
    return found.group()
