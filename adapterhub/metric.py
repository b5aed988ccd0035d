"""What a plugin gives to score answers: a metric. Needs no torch.

A measure of single answers gives `scores` and is done: its figure is their mean. A measure of a whole
corpus, such as BLEU, is no mean; it gives `tallies` as well, numbers of each answer that may be added up,
and `whole`, the figure that sums of them make. Intervals are found by adding up again for answers drawn
anew, so nothing is counted twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from adapterhub.errors import ConfigError


class Metric(ABC):
    """Scores answers against what was expected. Subclass, set the class attributes, and give `scores`."""

    name: ClassVar[str]
    """What users type: `--metric exact_match`."""
    description: ClassVar[str]
    """One line for the table's foot and the docs, with the source of the measure where it has one."""

    def configured(self, argument: str) -> Self:
        """This metric with what stands behind the `=` of `--metric name=argument`, empty without one.

        It is asked before anything is generated: whatever the metric needs is looked for here.
        Raises ConfigError for an argument it cannot use, and when something it needs is missing.
        """
        if argument:
            raise ConfigError(f"metric {self.name}: takes no argument (given: {argument!r})", field="metric")
        return self

    @property
    def label(self) -> str:
        """What its figures are called, in the table and in records: the name, and the argument where it has one."""
        return self.name

    @abstractmethod
    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        """A number from 0 to 1 for each answer, 1 the best. Raises ConfigError for expectations it cannot read."""

    def tallies(self, answers: Sequence[str], expected: Sequence[str]) -> list[Sequence[float]]:
        """Numbers of each answer, as many for every one, whose sums `whole` takes; by default its score alone."""
        return [(score,) for score in self.scores(answers, expected)]

    def whole(self, sums: Sequence[float], count: int) -> float:
        """The figure, from 0 to 1, of `count` answers whose tallies add up to `sums`; by default the mean."""
        return sums[0] / count
