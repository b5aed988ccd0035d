"""From the pieces of one answer of ours to this service's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.pb.compatible import fmaas_pb2
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.fmaas.parameters import Asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Teller:
    """Knows what was asked for and what came so far."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, asked: Asked, text: str, request: inference_pb2.GenerateRequest
    ) -> None:
        self._tokenizer = tokenizer
        self._asked = asked
        self._text = text
        self._request = request
        self._token_ids: list[int] = []
        self._length = 0
        """Characters that came."""

    def prompt(self, logprobs: Sequence[inference_pb2.TokenLogprobs] = ()) -> fmaas_pb2.GenerationResponse:
        """The message that tells of the prompt; `logprobs` are of its tokens but the first."""
        ids, options = self._request.token_ids.ids, self._asked.response
        answer = fmaas_pb2.GenerationResponse(input_token_count=len(ids), seed=self._request.sampling.seed)
        if options.input_text:
            answer.text = self._text
        if options.input_tokens:
            answer.input_tokens.extend((*self._tokens(ids[:1], ()), *self._tokens(ids[1:], logprobs)))
        return answer

    def piece(self, piece: inference_pb2.GenerateStreamResponse) -> fmaas_pb2.GenerationResponse:
        """What is new."""
        self._token_ids.extend(piece.token_ids)
        self._length += len(piece.text)
        answer = fmaas_pb2.GenerationResponse(text=piece.text, generated_token_count=len(self._token_ids))
        if self._asked.response.generated_tokens:
            answer.tokens.extend(self._tokens(piece.token_ids, piece.logprobs))
        if piece.finish_reason == inference_pb2.FINISH_REASON_LENGTH:
            cut = self._request.sampling.max_new_tokens < self._asked.sampling.max_new_tokens
            answer.stop_reason = fmaas_pb2.TOKEN_LIMIT if cut else fmaas_pb2.MAX_TOKENS
        elif piece.finish_reason:
            self._stopped(answer)
        return answer

    def out_of_time(self) -> fmaas_pb2.GenerationResponse:
        """The last message of an answer whose time is over."""
        return fmaas_pb2.GenerationResponse(
            generated_token_count=len(self._token_ids), stop_reason=fmaas_pb2.TIME_LIMIT
        )

    def _stopped(self, answer: fmaas_pb2.GenerationResponse) -> None:
        """By a stop sequence where the tokens say one behind the text; else by the last token."""
        if met := self._stop_sequence():
            answer.stop_reason, answer.stop_sequence = fmaas_pb2.STOP_SEQUENCE, met
            if self._asked.includes_stop:
                answer.text += met
        else:
            (last,) = self._spelled(self._token_ids[-1:])
            answer.stop_reason, answer.stop_sequence = fmaas_pb2.EOS_TOKEN, last

    def _stop_sequence(self) -> str:
        detokenizer = Detokenizer(self._tokenizer)
        whole = detokenizer.push(self._token_ids) + detokenizer.flush()
        stop = sorted(self._request.sampling.stop, key=len)
        return next((each for each in stop if whole.startswith(each, self._length)), "")

    def _tokens(self, ids: Sequence[int], logprobs: Sequence[inference_pb2.TokenLogprobs]) -> list[fmaas_pb2.TokenInfo]:
        tokens = [fmaas_pb2.TokenInfo(text=text) for text in self._spelled(ids)]
        for token, told in zip(tokens, logprobs, strict=False):
            with_logprob = self._asked.response.token_logprobs
            if with_logprob:
                token.logprob = told.logprob
            for text, top in zip(self._spelled([each.token_id for each in told.top]), told.top, strict=True):
                token.top_tokens.add(text=text, logprob=top.logprob if with_logprob else 0)
        return tokens

    def _spelled(self, ids: Sequence[int]) -> list[str]:
        return [text or "" for text in self._tokenizer.convert_ids_to_tokens(list(ids))]
