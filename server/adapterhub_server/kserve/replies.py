"""From our answers to this protocol's, with the outputs that were asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from adapterhub.pb.compatible import kserve_pb2
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.kserve.question import OUTPUTS, Question
from adapterhub_server.kserve.tensors import Value, add_output

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FINISH_REASONS: dict[inference_pb2.FinishReason, bytes] = {
    inference_pb2.FINISH_REASON_UNSPECIFIED: b"None",
    inference_pb2.FINISH_REASON_STOP: b"stop",
    inference_pb2.FINISH_REASON_LENGTH: b"length",
    inference_pb2.FINISH_REASON_TOOL_CALLS: b"tool_calls",
}
"""As vLLM calls them, and Triton's backend writes that there is none yet."""


class Part(NamedTuple):
    """An answer, or a piece of one."""

    text: str
    piece: inference_pb2.GenerateResponse | inference_pb2.GenerateStreamResponse
    prompt_tokens: int
    cumulative_logprob: float
    """Of the answer up to here."""
    adapter_digest: str


def reply(
    question: Question, parts: Sequence[Part], version: str, tokenizer: PreTrainedTokenizerBase
) -> kserve_pb2.ModelInferResponse:
    """One part for each text."""
    request = question.request
    answer = kserve_pb2.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    for name in question.outputs:
        values = [_value(name, part, tokenizer) for part in parts]
        add_output(answer, name, OUTPUTS[name], question.shape, values, raw=question.raw)
    return answer


def _value(name: str, part: Part, tokenizer: PreTrainedTokenizerBase) -> Value:
    match name:
        case "text_output":
            return part.text.encode()
        case "finish_reason":
            return FINISH_REASONS[part.piece.finish_reason]
        case "cumulative_logprob":
            return part.cumulative_logprob
        case "num_input_tokens":
            return part.prompt_tokens
        case "num_output_tokens":
            return len(part.piece.token_ids)
        case _:
            return _logprobs(part.piece, tokenizer)


def _logprobs(
    piece: inference_pb2.GenerateResponse | inference_pb2.GenerateStreamResponse, tokenizer: PreTrainedTokenizerBase
) -> bytes:
    """A list with an object by token id for each token: the likeliest, and itself, whose rank may not be known."""
    told = []
    for token, logprobs in zip(piece.token_ids, piece.logprobs, strict=True):
        ranks = {top.token_id: (top.logprob, rank) for rank, top in enumerate(logprobs.top, start=1)}
        each: dict[int, tuple[float, int | None]] = {token: (logprobs.logprob, None), **ranks}
        told.append(
            {
                str(one): {"logprob": logprob, "rank": rank, "decoded_token": tokenizer.decode([one])}
                for one, (logprob, rank) in each.items()
            }
        )
    return json.dumps(told).encode()
