"""Whether an answer is the expected one, to the letter."""

from __future__ import annotations

from collections.abc import Sequence

from adapterhub.metric import Metric


class ExactMatch(Metric):
    """1 where the texts are equal without the white space around them; case and all else count."""

    name = "exact_match"
    description = "the answer is the expected text, but for white space around it"

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        return [float(a.strip() == e.strip()) for a, e in zip(answers, expected, strict=True)]
