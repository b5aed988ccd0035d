"""Metrics as users choose them: `name` or `name=argument`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from adapterhub.errors import AdapterHubError, ConfigError, PluginError
from adapterhub.evaluate.bootstrap import Figures
from adapterhub.metric import Metric
from adapterhub.plugins import Registry, load_metrics


class ChosenMetric(NamedTuple):
    """A metric that is ready to score."""

    metric: Metric

    @property
    def label(self) -> str:
        """What it is called in the table."""
        return self.metric.label

    def tallies(self, answers: Sequence[str], expected: Sequence[str]) -> Figures:
        """What the metric tallies, [answers, k], checked. Raises ConfigError as the metric, and PluginError."""
        with _blamed_on(self.metric):
            found = np.array(self.metric.tallies(answers, expected), dtype=np.float64)
            if found.ndim != 2 or len(found) != len(answers) or not np.isfinite(found).all():
                raise ValueError(f"no finite numbers, as many for each of {len(answers)} answers")
        return found

    def whole(self, sums: Sequence[float], count: int) -> float:
        """The figure, from 0 to 1. Raises PluginError."""
        with _blamed_on(self.metric):
            figure = float(self.metric.whole(sums, count))
            if not -1e-9 <= figure <= 1 + 1e-9 or math.isnan(figure):
                raise ValueError(f"the figure {figure} is not from 0 to 1")
        return min(1.0, max(0.0, figure))


def chosen_metrics(words: Iterable[str], registry: Registry[Metric] | None = None) -> tuple[ChosenMetric, ...]:
    """The metrics of these words. Raises ConfigError for an unknown name, and for an argument it does not take."""
    known = registry or load_metrics()
    chosen = []
    for word in words:
        name, _, argument = word.partition("=")
        metric = known.get(name)
        with _blamed_on(metric):
            chosen.append(ChosenMetric(metric.configured(argument)))
    labels = [each.label for each in chosen]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise ConfigError(f"metric: two that are called {twice[0]!r}", field="metric")
    return tuple(chosen)


@contextmanager
def _blamed_on(metric: Metric) -> Iterator[None]:
    """Whatever a metric raises becomes a PluginError that names it; errors of our tree pass."""
    try:
        yield
    except AdapterHubError:
        raise
    except Exception as error:
        raise PluginError(f"metric {metric.name!r}: {type(error).__name__}: {error}") from error
