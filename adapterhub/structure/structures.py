"""Structures compiled in the background, once for all who ask for the same."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from adapterhub.errors import AdapterHubError, EngineStoppedError, InvalidInputError, UnsupportedBaseError
from adapterhub.structure.grammar import grammar_of, refusal
from adapterhub.structure.matcher import Matcher
from adapterhub.structure.structure import Structure
from adapterhub.structure.trials import LIMITS, Trials, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

WORKERS = 2
"""Trials at a time; one that explodes leaves the other to the rest."""
REMEMBERED = 64
"""Structures, those that were refused included, the one unused longest forgotten first."""


class Structures:
    """Compiles for one base. Any thread. Nothing is built before the first structure, or `prepare`."""

    def __init__(self, vocabulary: Callable[[], Vocabulary]) -> None:
        """`vocabulary` raises UnsupportedBaseError where there is none."""
        self._of_base = vocabulary
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._compiled: OrderedDict[Structure, LLMatcher | InvalidInputError] = OrderedDict()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="adapterhub-structure")
        self._idle: queue.SimpleQueue[Trials] = queue.SimpleQueue()
        self._trials: list[Trials] = []

    def prepare(self) -> None:
        """Build now what the first structure would wait for. Raises UnsupportedBaseError, UnavailableError."""
        assert self._tokenizer
        trials = self._take()
        try:
            trials.start()
        finally:
            self._idle.put(trials)

    def compile(
        self, structure: Structure, done: Callable[[Matcher], object], failed: Callable[[AdapterHubError], object]
    ) -> None:
        """Have a structure compiled; one of the two is called on another thread, with a matcher at its beginning.

        `failed` gets InvalidInputError naming the field, UnsupportedBaseError or UnavailableError.
        Raises EngineStoppedError after `close`.
        """

        def work() -> None:
            try:
                matcher = Matcher(self._find(structure).deep_copy(), structure)
            except AdapterHubError as error:
                failed(error)
            else:
                done(matcher)

        try:
            self._pool.submit(work)
        except RuntimeError:
            raise EngineStoppedError("the engine is not running") from None

    def close(self) -> None:
        """End what is being compiled."""
        with self._lock:
            trials = list(self._trials)
        for each in trials:
            each.kill()
        self._pool.shutdown(cancel_futures=True)
        for each in trials:
            each.close()

    def _find(self, structure: Structure) -> LLMatcher:
        with self._lock:
            found = self._compiled.get(structure)
            if found is not None:
                self._compiled.move_to_end(structure)
        if found is None:
            try:
                found = self._compile(structure)
            except InvalidInputError as error:
                found = error
            with self._lock:
                self._compiled[structure] = found
                if len(self._compiled) > REMEMBERED:
                    self._compiled.popitem(last=False)
        if isinstance(found, InvalidInputError):
            raise InvalidInputError(str(found), field=found.field)
        return found

    def _compile(self, structure: Structure) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        grammar, tokenizer = grammar_of(structure), self._tokenizer
        trials = self._take()
        try:
            reason = trials.reason(grammar)
        finally:
            self._idle.put(trials)
        if not reason:  # as in the trial, so it ends as soon
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
            reason = matcher.get_error()
        if reason:
            raise refusal(structure, reason)
        return matcher

    def _take(self) -> Trials:
        """A process that tries nothing at the moment."""
        with self._lock:
            if len(self._trials) < WORKERS and self._idle.empty():
                self._trials.append(Trials(self._vocabulary))
                return self._trials[-1]
        return self._idle.get()

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return self._of_base()

    @property
    def _tokenizer(self) -> LLTokenizer:
        with self._building:  # it takes half a second, and once is enough
            return self._built

    @cached_property
    def _built(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        vocabulary = self._vocabulary
        try:
            return LLTokenizer(vocabulary.tokenizer, n_vocab=vocabulary.vocab, eos_token=list(vocabulary.eos))
        except ValueError as error:
            raise UnsupportedBaseError(f"structure: the grammar library cannot read the tokenizer: {error}") from None
