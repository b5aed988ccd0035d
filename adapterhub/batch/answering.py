"""Requests asked ahead of the one whose result is written next, within a window."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from adapterhub.batch.answer import Answer
from adapterhub.batch.asker import Asker, Promise
from adapterhub.batch.bad_entry import BadEntry
from adapterhub.batch.entry import Entry
from adapterhub.batch.output import Output
from adapterhub.batch.usable import Usable, ends_all
from adapterhub.errors import AdapterHubError, InvalidInputError


class Asked(NamedTuple):
    """A request whose result is not written yet: its answer is promised, or there is none."""

    entry: Entry
    promise: Promise | None
    error: AdapterHubError | None = None

    @property
    def is_done(self) -> bool:
        return self.promise is None or self.promise.ended.done()


class Answering:
    """Asks and writes, in the order of the requests; counts what it wrote."""

    def __init__(self, asker: Asker, usable: Usable, output: Output, on_answer: Callable[[], None]) -> None:
        """`on_answer` is called after each answer, on any thread, one at a time."""
        self.failed = 0
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.seconds = 0.0
        self._asker = asker
        self._usable = usable
        self._output = output
        self._waiting: deque[Asked] = deque()
        self._on_answer = on_answer
        self._telling = threading.Lock()

    def run(self, entries: Iterable[Entry]) -> None:
        """To the end of the entries. Raises what ends all; what was answered in order until then is written."""
        began = time.monotonic()
        for entry in entries:
            self._waiting.append(self._ask(entry))
            while len(self._waiting) >= self._asker.window:
                self._write()
        while self._waiting:
            self._write()
        self.seconds = time.monotonic() - began

    def _ask(self, entry: Entry) -> Asked:
        if isinstance(entry, BadEntry):
            return self._without_answer(entry, entry.error)
        for ref in entry.question.refs:
            if (error := self._usable.failed.get(ref)) is not None:
                return self._without_answer(entry, error)
        try:
            question = self._usable.pin(entry.question)
        except InvalidInputError as error:
            return self._without_answer(entry, error)
        promise = self._asker.ask(question)
        promise.ended.add_done_callback(lambda _: self._tell())
        return Asked(entry, promise)

    def _without_answer(self, entry: Entry, error: AdapterHubError) -> Asked:
        self._tell()
        return Asked(entry, None, error)

    def _tell(self) -> None:
        with self._telling:
            self._on_answer()

    def _write(self) -> None:
        """Waits for the next result, and writes it with those behind it that are there."""
        results: list[dict[str, Any]] = []
        try:
            results.extend(self._ready())
        finally:
            self._output.append(results)

    def _ready(self) -> Iterator[dict[str, Any]]:
        first = True
        while self._waiting and (first or self._waiting[0].is_done):
            result = self._result(self._waiting[0])
            self._waiting.popleft()
            first = False
            yield result

    def _result(self, asked: Asked) -> dict[str, Any]:
        if asked.promise is None:
            assert asked.error is not None
            return self._failure(asked.entry, asked.error)
        try:
            answer = asked.promise.read()
        except AdapterHubError as error:
            if ends_all(error):
                raise
            return self._failure(asked.entry, error)
        self._count(answer)
        return asked.entry.answered(answer, self._asker.token_text)

    def _failure(self, entry: Entry, error: AdapterHubError) -> dict[str, Any]:
        self.failed += 1
        return entry.failed(error)

    def _count(self, answer: Answer) -> None:
        self.prompt_tokens += answer.prompt_tokens
        self.generated_tokens += len(answer.token_ids)
