"""Prompts of the bench: windows of plain text as token ids, no two with a start in common."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from adapterhub.general_text import GENERAL_TEXT


@dataclass(frozen=True)
class Prompts:
    """The first token is drawn at random, so that nothing computed for one prompt can serve another."""

    ids: list[int]
    """The text's."""
    vocab_size: int

    @classmethod
    def of(cls, model: Path, vocab_size: int) -> Prompts:
        """From the model's tokenizer; a model without one gets random ids."""
        if (model / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
            return cls(tokenizer.encode("\n".join(GENERAL_TEXT), add_special_tokens=False).ids, vocab_size)
        rng = random.Random(0)
        return cls([rng.randrange(vocab_size) for _ in range(1000)], vocab_size)

    def draw(self, count: int, tokens: int, seed: str) -> list[list[int]]:
        """`count` prompts of `tokens` ids, the same for the same seed."""
        rng = random.Random(seed)
        firsts = rng.sample(range(self.vocab_size), count)
        prompts = []
        for first in firsts:
            start = rng.randrange(len(self.ids) - tokens)
            prompts.append([first, *self.ids[start : start + tokens - 1]])
        return prompts
