"""What a plugin gives to score answers: a metric. Needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Metric(ABC):
    """Scores answers against what was expected. Subclass, set the class attributes, and give `scores`."""

    name: ClassVar[str]
    """What users type: `--metric exact_match`."""
    description: ClassVar[str]
    """One line for the table's foot and the docs, with the source of the measure where it has one."""

    @abstractmethod
    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        """A number from 0 to 1 for each answer, 1 the best. Raises ConfigError for expectations it cannot read."""

    def whole(self, answers: Sequence[str], expected: Sequence[str]) -> float:
        """The figure of them all; the mean of `scores`, but for a measure of a corpus, such as BLEU."""
        return sum(found := self.scores(answers, expected)) / len(found)
