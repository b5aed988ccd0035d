"""How sure a figure is: the paired bootstrap over examples.

Of n examples, n are drawn with replacement, and every figure is computed again from those; after many
such resamples the middle 95 % of a figure's values are its interval, the percentile interval of Efron
and Tibshirani (An Introduction to the Bootstrap, 1993, chapter 13). A resample's examples are the
same for all rows of the table, so that the difference of two rows is that of the same examples: the
paired bootstrap of Koehn (2004, W04-3250), which also covers measures of a corpus.

What is not covered: examples that depend on each other, and a figure of 0 or 1 in every example, whose
interval has no width however few they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Efron and Tibshirani ask for 1000 and more for the ends of an interval."""
LEVEL = 0.95
AT_ONCE = 1 << 22
"""Drawn counts held at a time."""

Figures = NDArray[np.float64]


def resampled_sums(tallies: Figures, seed: int, resamples: int = RESAMPLES) -> Figures:
    """`sums[b] = sum over i of c[b, i] tallies[i]`, where row b of c counts how often each example was drawn.

    tallies [examples, k] -> sums [resamples, k]; the same seed and number of examples draw the same.
    """
    count = len(tallies)
    rng = np.random.default_rng(seed)
    chances = np.full(count, 1 / count)
    step = max(1, AT_ONCE // count)
    return np.concatenate(
        [
            rng.multinomial(count, chances, size=min(step, resamples - start)) @ tallies
            for start in range(0, resamples, step)
        ]
    )


def figures(sums: Figures, whole: Callable[[Sequence[float], int], float], count: int) -> Figures:
    """The figure of every resample, [resamples]."""
    return np.array([whole(row, count) for row in sums.tolist()])


def interval(values: Figures, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled figures."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
