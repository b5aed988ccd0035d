"""The longest common subsequence of words: ROUGE-L."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from adapterhub.metric import Metric
from adapterhub_metrics.needs import needed


class RougeL(Metric):
    """The F measure of ROUGE-L (Lin 2004, aclanthology.org/W04-1013) as `rouge-score` computes it, without stemming."""

    name = "rouge_l"
    description = "ROUGE-L, F measure, by rouge-score without stemming (aclanthology.org/W04-1013)"

    def configured(self, argument: str) -> Self:
        needed("rouge_score.rouge_scorer", "rouge-score", metric=self.name)
        return super().configured(argument)

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        scorer = needed("rouge_score.rouge_scorer", "rouge-score", metric=self.name).RougeScorer(["rougeL"])
        pairs = zip(answers, expected, strict=True)
        return [float(scorer.score(target=e, prediction=a)["rougeL"].fmeasure) for a, e in pairs]
