"""From answers to the table: figures, intervals, costs, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adapterhub.engine import Completion
from adapterhub.evaluate.bootstrap import Figures, figures, interval, resampled_sums
from adapterhub.evaluate.chosen_metric import ChosenMetric
from adapterhub.evaluate.config import EvalConfig
from adapterhub.evaluate.contender import Contender
from adapterhub.evaluate.evaluation import Difference, EvaluationRow

PER_PRICE = 1e6
"""Prices are of so many tokens."""
REQUESTS = 1000
"""What a row's price is told of."""


class Answered(NamedTuple):
    """A contender with what it was asked and what it said, question by question."""

    contender: Contender
    prompts: list[list[int]]
    """Token ids."""
    completions: list[Completion]
    virtual_tokens: int = 0

    @property
    def prompt_tokens(self) -> float:
        return float(np.mean([len(ids) for ids in self.prompts]))

    @property
    def generated_tokens(self) -> float:
        return float(np.mean([len(completion.token_ids) for completion in self.completions]))


class Measured(NamedTuple):
    """One contender's figures by metric."""

    scores: dict[str, float]
    resampled: dict[str, Figures]
    """[resamples]; entry i of every contender is of the same examples."""


def measure(
    answered: Sequence[Answered], expected: Sequence[str], metrics: Sequence[ChosenMetric], seed: int
) -> list[Measured]:
    """Score every contender's answers. Raises ConfigError or PluginError as the metrics."""
    texts = [[completion.text for completion in each.completions] for each in answered]
    tallies = [[metric.tallies(each, expected) for metric in metrics] for each in texts]
    drawn = _resampled(tallies, seed)
    return [_measured(metrics, *each, count=len(expected)) for each in zip(tallies, drawn, strict=True)]


def _resampled(tallies: Sequence[Sequence[Figures]], seed: int) -> list[list[Figures]]:
    """Their sums, [resamples, k] for each [examples, k], all of the same draws."""
    flat = [each for of_one in tallies for each in of_one]
    ends = np.cumsum([each.shape[1] for each in flat])[:-1]
    sums = iter(np.split(resampled_sums(np.hstack(flat), seed), ends, axis=1))
    return [[next(sums) for _ in of_one] for of_one in tallies]


def _measured(
    metrics: Sequence[ChosenMetric], tallies: Sequence[Figures], drawn: Sequence[Figures], *, count: int
) -> Measured:
    found = list(zip(metrics, tallies, drawn, strict=True))
    return Measured(
        {metric.label: metric.whole(each.sum(axis=0).tolist(), count) for metric, each, _ in found},
        {metric.label: figures(sums, metric.whole, count) for metric, _, sums in found},
    )


def rows(answered: Sequence[Answered], measured: Sequence[Measured], config: EvalConfig) -> tuple[EvaluationRow, ...]:
    """The lines of the table."""
    reference = next((each for each in answered if each.contender.digest), answered[0])
    least = reference.prompt_tokens + reference.generated_tokens
    return tuple(
        EvaluationRow(
            label=each.contender.label,
            kind="adapter" if each.contender.digest else "prompt",
            digest=each.contender.digest,
            prompt_format=each.contender.prompting.prompt_format.kind,
            shots=len(each.contender.prompting.shots),
            prompt_tokens=each.prompt_tokens,
            virtual_tokens=each.virtual_tokens,
            generated_tokens=each.generated_tokens,
            cut=float(np.mean([completion.finish_reason == "length" for completion in each.completions])),
            cost=(each.prompt_tokens + each.generated_tokens) / least,
            price=_price(each, config),
            scores=found.scores,
            intervals={label: interval(values) for label, values in found.resampled.items()},
        )
        for each, found in zip(answered, measured, strict=True)
    )


def difference(metric: str, adapter: tuple[str, Measured], prompt: tuple[str, Measured]) -> Difference:
    """An adapter, by its label, against a prompt on one metric."""
    (adapter_label, ours), (prompt_label, theirs) = adapter, prompt
    low, high = interval(100 * (ours.resampled[metric] - theirs.resampled[metric]))
    points = 100 * (ours.scores[metric] - theirs.scores[metric])
    return Difference(metric, adapter_label, prompt_label, points, low, high)


def _price(answered: Answered, config: EvalConfig) -> float | None:
    if config.prompt_price is None and config.generated_price is None:
        return None
    prompt = answered.prompt_tokens * (config.prompt_price or 0)
    generated = answered.generated_tokens * (config.generated_price or 0)
    return (prompt + generated) / PER_PRICE * REQUESTS
