"""Whether two tokenizers mean the same by every id."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def vocabulary_differs(teacher: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> str:
    """Where the teacher's vocabulary is another than the base's; empty where every token has the same id."""
    theirs, ours = teacher.get_vocab(), base.get_vocab()
    if theirs == ours:
        return ""
    token = min(
        (token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token)),
        key=lambda token: (min(vocab[token] for vocab in (theirs, ours) if token in vocab), token),
    )
    ids = [f"is {vocab[token]}" if token in vocab else "is unknown" for vocab in (theirs, ours)]
    return f"{len(theirs)} tokens, the base's {len(ours)}; {token!r} {ids[0]} there and {ids[1]} here"
