"""How many words an answer has in common with the expected one, as SQuAD counts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from adapterhub.metric import Metric

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """The words as SQuAD's evaluation has them: lower case, no punctuation, no articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


class TokenF1(Metric):
    """`F1 = 2 P R / (P + R)` over words, each as often as it occurs; Rajpurkar et al. 2016, arXiv:1606.05250, 6.1.

    Where the answer or the expectation has no words, 1 when both have none, as in SQuAD 2.0's evaluation.
    """

    name = "token_f1"
    description = "words in common, F1, as SQuAD counts: no case, punctuation or articles (arXiv:1606.05250)"

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        return [_f1(words(a), words(e)) for a, e in zip(answers, expected, strict=True)]


def _f1(answer: list[str], expected: list[str]) -> float:
    if not answer or not expected:
        return float(answer == expected)
    return 2 * (Counter(answer) & Counter(expected)).total() / (len(answer) + len(expected))
