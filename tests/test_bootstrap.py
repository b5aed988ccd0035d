"""Intervals: the bootstrap against plain formulas, and what the verdict makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adapterhub.evaluate.bootstrap import RESAMPLES, Figures, figures, interval, resampled_sums
from adapterhub.evaluate.evaluation import Difference
from adapterhub.evaluate.verdict import verdict_of


def mean(sums: Sequence[float], count: int) -> float:
    return sums[0] / count


def means(values: Figures, seed: int = 0) -> Figures:
    return figures(resampled_sums(values[:, None], seed), mean, len(values))


def test_the_interval_of_a_share_is_the_normal_one_where_that_holds() -> None:
    right = np.array([1.0] * 240 + [0.0] * 160)
    low, high = interval(means(right))
    error = 1.96 * (0.6 * 0.4 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.6 - error, 0.6 + error), abs=0.006)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    truth = 0.7 - (0.8 * 0.7 + 0.2 * 0.5)
    held = 0
    for repeat in range(300):
        first = rng.random(100) < 0.7
        second = np.where(rng.random(100) < 0.8, first, rng.random(100) < 0.5)  # goes along with the first
        sums = resampled_sums(np.stack([first, second], axis=1).astype(float), repeat, resamples=300)
        low, high = interval((sums[:, 0] - sums[:, 1]) / 100)
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.98  # 0.95 with a standard error of 0.013, and a little less for 100 examples


def test_differences_are_of_the_same_examples() -> None:
    scores = np.random.default_rng(1).random(50)
    difference = means(scores + 0.1) - means(scores)
    assert interval(difference) == pytest.approx((0.1, 0.1))
    assert interval(means(scores + 0.1, 1) - means(scores, 2)) != pytest.approx((0.1, 0.1), abs=0.01)


def test_every_resample_draws_as_many_as_there_are_and_the_seed_decides_which() -> None:
    ones = resampled_sums(np.ones((30, 1)), seed=3)
    assert ones.shape == (RESAMPLES, 1)
    assert (ones == 30).all()
    values = np.arange(30.0)[:, None]
    assert (resampled_sums(values, 3) == resampled_sums(values, 3)).all()
    assert (resampled_sums(values, 3) != resampled_sums(values, 4)).any()


def test_many_examples_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(40.0)[:, None]
    whole = interval(means(values[:, 0]))
    monkeypatch.setattr("adapterhub.evaluate.bootstrap.AT_ONCE", 40 * 7)  # 2000 is no multiple of 7
    assert resampled_sums(values, 0).shape == (RESAMPLES, 1)
    assert interval(means(values[:, 0])) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("points", "low", "high", "verdict"),
    [
        (41.0, 36.0, 46.0, "fine-tuning gains 41 ± 5 points over the best prompt"),
        (2.4, 0.2, 4.6, "fine-tuning gains 2.4 ± 2.2 points over the best prompt"),
        (-7.5, -10.0, -5.0, "prompting already does it: the best prompt is 7.5 ± 2.5 points ahead"),
        (
            0.7,
            -1.3,
            2.7,
            "prompting already does it: no difference is shown, the adapter has +0.7 points, between -1.3 and +2.7",
        ),
        (
            5.0,
            0.0,
            10.0,
            "prompting already does it: no difference is shown, the adapter has +5.0 points, between +0.0 and +10.0",
        ),
    ],
)
def test_the_verdict_follows_the_interval(points: float, low: float, high: float, verdict: str) -> None:
    difference = Difference("exact_match", "a", "base, zero-shot", points, low, high)
    assert verdict_of(difference, adapter=0.9, prompt=0.5, examples=100) == verdict


def test_there_is_no_verdict_on_nothing() -> None:
    difference = Difference("exact_match", "a", "base, zero-shot", 100.0, 100.0, 100.0)
    few = verdict_of(difference, adapter=1, prompt=0, examples=19)
    assert few == "too few held-out examples to tell: 19, at least 20 are needed"
    none = verdict_of(difference._replace(points=0, low=0, high=0), adapter=0, prompt=0, examples=100)
    assert none == "neither prompting nor fine-tuning does it: both have 0 % exact_match"
