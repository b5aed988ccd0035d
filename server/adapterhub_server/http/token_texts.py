"""Log-probabilities with their tokens as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from adapterhub.pb.v1 import inference_pb2

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PART_OF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"

Logprobs = Sequence[inference_pb2.TokenLogprobs]


class TokenTexts:
    """What single tokens decode to."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def of_chat(self, token_ids: Iterable[int], logprobs: Logprobs) -> dict[str, Any] | None:
        """As a chat's choice has them; None where none are told."""
        if not logprobs:
            return None
        content = [
            {
                **self._entry(token, told.logprob),
                "top_logprobs": [self._entry(each.token_id, each.logprob) for each in told.top],
            }
            for token, told in zip(token_ids, logprobs, strict=True)
        ]
        return {"content": content, "refusal": None}

    def of_completion(
        self, token_ids: Iterable[int], logprobs: Sequence[inference_pb2.TokenLogprobs | None], begins: int = 0
    ) -> dict[str, Any] | None:
        """As a completion's choice has them; the first token's text begins at that offset. None where none are told."""
        if not logprobs:
            return None
        tokens = [self.text([token]) for token in token_ids]
        offsets = list(accumulate(map(len, tokens), initial=begins))[:-1]
        top = [{self.text([each.token_id]): each.logprob for each in told.top} if told else None for told in logprobs]
        return {
            "tokens": tokens,
            "token_logprobs": [told.logprob if told else None for told in logprobs],
            "top_logprobs": top,
            "text_offset": offsets,
        }

    def of_prompt(self, logprobs: Logprobs) -> list[dict[str, Any]]:
        """Of every token of a prompt but the first."""
        return [
            {
                "logprob": told.logprob,
                "top": [
                    {"token_id": each.token_id, "token": self.text([each.token_id]), "logprob": each.logprob}
                    for each in told.top
                ],
            }
            for told in logprobs
        ]

    def text(self, token_ids: Sequence[int]) -> str:
        """What they decode to, special tokens included."""
        return str(self._tokenizer.decode(list(token_ids)))

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.text([token])
        # A part of a character has bytes, but its text no longer tells them.
        told = None if PART_OF_A_CHARACTER in text else list(text.encode())
        return {"token": text, "logprob": logprob, "bytes": told}
