"""Which adapter's training prompts a prompt resembles, by their signatures.

    r_i = signature i at unit length,  u = mean of r at unit length
    c_i = r_i - (r_i . u) u  at unit length            what is adapter i's own
    score_i = c_i . f                                  f: features of the prompt, of unit length

What all candidates share, such as the language or an instruction, lies along u and says nothing. So it is
taken out of the signatures; a prompt that is mostly that scores low everywhere. Taking the mean away
instead would make a prompt that resembles none alike to whatever differs most from the others. One
candidate alone shares nothing: c = r.

The best is picked when it scores THRESHOLD or more and MARGIN more than the second, else the bare base
answers. Signatures at a cosine of SAME or more are those of one task: the adapter made last stands for
them. The figures behind the three are in docs/routing.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from adapterhub import Candidate, ConfigError, Pick, PickPrompt, PromptRouter, prompt_features, read_signature

log = logging.getLogger(__name__)

THRESHOLD = 0.25
MARGIN = 0.1
SAME = 0.98


class Similarity(PromptRouter):
    """By the cosine with the signatures' own parts."""

    name = "similarity"

    def __init__(self) -> None:
        self._told: set[str] = set()
        """Digests that were said to have no signature."""

    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        """A candidate without a signature is never picked, and the log says so once."""
        names: list[str] = []
        rows: list[NDArray[np.float32]] = []
        for candidate, row in self._signed(candidates):
            if all(row @ other < SAME for other in rows):
                names.append(candidate.name)
                rows.append(row)
        own = _own_parts(np.array(rows)) if rows else None

        def pick(prompt: str) -> Pick | None:
            if own is None:
                return None
            scores = own @ prompt_features(prompt)
            best = int(scores.argmax())
            rest = np.delete(scores, best)
            sure = scores[best] >= THRESHOLD and (not len(rest) or scores[best] - rest.max() >= MARGIN)
            return Pick(names[best], float(scores[best])) if sure else None

        return pick

    def _signed(self, candidates: Iterable[Candidate]) -> list[tuple[Candidate, NDArray[np.float32]]]:
        """Those that have a signature, the one made last first."""
        found = []
        for candidate in candidates:
            try:
                found.append((candidate, read_signature(candidate.provenance.prompt_signature)))
            except ConfigError as error:
                if candidate.digest not in self._told:
                    self._told.add(candidate.digest)
                    log.warning("router similarity never picks %s: %s", candidate.name, error)
        return sorted(found, key=lambda pair: pair[0].provenance.created, reverse=True)


def _own_parts(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is each row's own, at unit length. [n, 1024] -> [n, 1024]"""
    if len(rows) == 1:
        return rows
    mean = rows.mean(axis=0)
    shared = mean / (np.linalg.norm(mean) or 1.0)
    own = rows - np.outer(rows @ shared, shared)
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    return np.asarray(own / np.maximum(lengths, 1e-9), np.float32)
