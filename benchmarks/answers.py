"""Whether a contender answers with the adapter it was asked for: a wrong answer's speed counts for nothing.

The same prompts go to the base and to several adapters in one batch. What the float32 reference, PEFT one request at a
time, answers is the truth. Quantized contenders leave it sooner or later, so a row is not held to every token; but
taken over the prompts, what a contender says for an adapter must be nearer to that adapter's truth than to another's,
and two adapters whose truths differ must not give equal answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from benchmarks.peers.protocol import Ask

HEAD = 8
"""Tokens at an answer's start that agreement is told by."""
MARGIN = 4
"""Tokens by which another adapter's truth must be nearer before an answer counts as that adapter's."""

Tokens = list[int]


class Verdict(NamedTuple):
    """What the check found."""

    agreement: float
    """Share of the probe's requests whose first HEAD tokens are the reference's."""
    wrong: str
    """Why the answers are wrong; empty when they are not."""


class Probe(NamedTuple):
    """Every prompt for the base and for each adapter."""

    prompts: list[Tokens]
    adapters: int

    @property
    def voices(self) -> list[int | None]:
        return [None, *range(self.adapters)]

    def requests(self) -> list[Ask]:
        """One batch; neighbours ask for different adapters."""
        return [Ask(prompt, voice) for prompt in self.prompts for voice in self.voices]

    def judge(self, answers: Sequence[Tokens], alone: Sequence[Tokens], truth: Sequence[Tokens]) -> Verdict:
        """`answers` and `truth` to `requests`; `alone`: the contender's own to the prompts without any adapter."""
        agreement = share(answers, truth)
        said, true = self._by_voice(answers), self._by_voice(truth)
        for one, other in combinations(self.voices, 2):
            if said[one] == said[other] and true[one] != true[other]:
                return Verdict(agreement, f"{_name(one)} and {_name(other)} gave equal answers")
        for voice in self.voices:
            near = {other: _common(said[voice], true[other]) for other in self.voices}
            nearest = max(self.voices, key=lambda other: near[other])
            if near[nearest] >= near[voice] + MARGIN:
                return Verdict(agreement, f"asked for {_name(voice)}, answered as {_name(nearest)}")
        base = _common(said[None], alone)
        if any(_common(said[voice], alone) >= base + MARGIN for voice in self.voices):
            return Verdict(agreement, "the base beside adapters does not answer as the base alone")
        return Verdict(agreement, "")

    def _by_voice(self, answers: Sequence[Tokens]) -> dict[int | None, list[Tokens]]:
        """Each voice's answers, prompt by prompt."""
        step = len(self.voices)
        return {voice: list(answers[index::step]) for index, voice in enumerate(self.voices)}


def share(answers: Sequence[Tokens], truth: Sequence[Tokens]) -> float:
    """Of the answers, those whose first HEAD tokens are the truth's."""
    pairs = list(zip(answers, truth, strict=True))
    return sum(answer[:HEAD] == true[:HEAD] for answer, true in pairs) / len(pairs)


def _common(answers: Sequence[Tokens], others: Sequence[Tokens]) -> int:
    """Tokens that answers have in common with others from the start on, summed."""
    total = 0
    for answer, other in zip(answers, others, strict=True):
        for mine, theirs in zip(answer, other, strict=True):
            if mine != theirs:
                break
            total += 1
    return total


def _name(voice: int | None) -> str:
    return "the base" if voice is None else f"adapter {voice}"
