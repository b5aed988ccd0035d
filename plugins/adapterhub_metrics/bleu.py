"""BLEU of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from adapterhub.metric import Metric
from adapterhub_metrics.needs import needed

ORDER = 4
"""The longest n-grams that count."""


class Bleu(Metric):
    """BLEU (Papineni et al. 2002) as sacrebleu's `corpus_bleu` with its defaults, from 0 to 1 (Post 2018, W18-6319).

    The figure is the corpus's: an answer's tallies are its length, the reference's, and for each order
    its matching n-grams and all of them. `scores` are sentence BLEU, which is not what is averaged.
    """

    name = "bleu"
    description = "BLEU of the whole, by sacrebleu with its defaults (aclanthology.org/W18-6319)"

    def configured(self, argument: str) -> Self:
        needed("sacrebleu", "sacrebleu", metric=self.name)
        return super().configured(argument)

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        return [float(sentence.score) / 100 for sentence in self._sentences(answers, expected)]

    def tallies(self, answers: Sequence[str], expected: Sequence[str]) -> list[Sequence[float]]:
        return [(s.sys_len, s.ref_len, *s.counts, *s.totals) for s in self._sentences(answers, expected)]

    def whole(self, sums: Sequence[float], count: int) -> float:
        numbers = [round(number) for number in sums]
        bleu = needed("sacrebleu", "sacrebleu", metric=self.name).BLEU
        found = bleu.compute_bleu(
            correct=numbers[2 : 2 + ORDER], total=numbers[2 + ORDER :], sys_len=numbers[0], ref_len=numbers[1]
        )
        return float(found.score) / 100

    def _sentences(self, answers: Sequence[str], expected: Sequence[str]) -> list[Any]:
        bleu = needed("sacrebleu", "sacrebleu", metric=self.name).BLEU(effective_order=True)
        return [bleu.sentence_score(a, [e]) for a, e in zip(answers, expected, strict=True)]
