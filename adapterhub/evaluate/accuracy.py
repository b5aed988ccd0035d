"""Task accuracy, by generating an answer to every held-out prompt and scoring it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.prompt_format import PromptFormat


@dataclass(frozen=True)
class Trial:
    """What one adapter, or the bare base, is asked."""

    adapter: str
    """Content digest of a resident adapter, or empty for the base."""
    prompt_format: PromptFormat
    pairs: tuple[tuple[str, str], ...]
    """Prompts with the expected completions."""
    is_right: Callable[[str, str], bool]
    """`is_right(completion, expected)`."""
    max_new_tokens: int


class Accuracy(NamedTuple):
    """How many of the answers were right."""

    right: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.right / self.total


def score(engine: Engine, trials: list[Trial], on_answer: Callable[[], None] = lambda: None) -> list[Accuracy]:
    """Greedy answers to all trials, in batches that mix them; `on_answer` is called after each answer.

    Raises the error of the first request that failed.
    """
    waiting: list[list[Future[bool]]] = [[] for _ in trials]
    interleaved = zip_longest(*([(index, pair) for pair in trial.pairs] for index, trial in enumerate(trials)))
    for index, (prompt, expected) in (item for items in interleaved for item in items if item is not None):
        waiting[index].append(_ask(engine, trials[index], prompt, expected, on_answer))
    return [Accuracy(sum(answer.result() for answer in answers), len(answers)) for answers in waiting]


def _ask(engine: Engine, trial: Trial, prompt: str, expected: str, on_answer: Callable[[], None]) -> Future[bool]:
    tokenizer = engine.base.tokenizer
    ids = tuple(trial.prompt_format.encode_prompt(tokenizer, prompt))
    done: Future[bool] = Future()
    tokens: list[int] = []

    def on_event(event: Event) -> None:
        tokens.extend(event.token_ids)
        if event.error:
            done.set_exception(event.error)
        elif event.finish_reason:
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            done.set_result(trial.is_right(str(text), expected))
            on_answer()

    engine.submit(Request(ids, trial.adapter, Sampling(max_new_tokens=trial.max_new_tokens)), on_event)
    return done
