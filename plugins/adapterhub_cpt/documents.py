"""A document as rows of token ids, all of which are learned."""

from __future__ import annotations

from adapterhub.objective import IGNORED, Encoder, Example
from adapterhub.records import Text


def pieces(record: Text, encoder: Encoder) -> list[Example]:
    """A document with its closing token, cut where it is longer than a row.

    A later piece begins as every text does for the tokenizer (with its opening token, if it has one)
    and sees of what was before it the last token alone, so that each token is learned once.
    """
    tokenizer = encoder.tokenizer
    opening = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = list(tokenizer(record.text)["input_ids"])
    if opening and ids[:1] != opening:
        opening = []
    closing = tokenizer.eos_token_id
    if closing is not None and ids[-1:] != [closing]:
        ids.append(closing)
    rows = [_learned(ids[: encoder.limit], context=1)]
    for start in range(encoder.limit, len(ids), step := max(1, encoder.limit - len(opening) - 1)):
        rows.append(_learned([*opening, *ids[start - 1 : start + step]], context=len(opening) + 1))
    return encoder.fitted(rows, record.line)


def _learned(ids: list[int], *, context: int) -> Example:
    return Example(input_ids=ids, labels=[IGNORED] * context + ids[context:])
