"""A base's tokens, for what holds a text to a structure."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from adapterhub.errors import UnsupportedBaseError
from adapterhub.structure.trials import Vocabulary

if TYPE_CHECKING:
    from adapterhub.base import BaseModel


def vocabulary_of(base: BaseModel, eos: frozenset[int]) -> Vocabulary:
    """Raises UnsupportedBaseError where tokens' texts are not known for certain, and where no token ends a text."""
    fast = getattr(base.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise UnsupportedBaseError("structure: needs a base with a fast tokenizer (tokenizer.json)")
    if not eos:
        raise UnsupportedBaseError("structure: needs a base with an end-of-sequence token")
    fast = copy.copy(fast)
    fast.no_padding()
    fast.no_truncation()
    vocab = max(base.shape.vocab_size, fast.get_vocab_size(with_added_tokens=True))
    return Vocabulary(fast.to_str(), vocab, tuple(sorted(eos)))
