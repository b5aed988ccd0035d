"""What a request of this service asks for, in the terms of ours; what we do not do is refused by name."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import fmaas_pb2
from adapterhub.pb.v1 import inference_pb2

DEFAULT_NEW_TOKENS = 20
"""As the original's."""
MAX_NEW_TOKENS = 8192
"""As `Sampling.max_new_tokens`."""
MAX_TOP_TOKENS = 20
"""As `Sampling.logprobs`."""
ANY_JSON = json.dumps({"type": ["object", "array"]})

FIELDS: Mapping[str, str] = {
    "text": "request.text",
    "adapter": "adapter_id",
    "max_new_tokens": "params.stopping.max_new_tokens",
    "min_tokens": "params.stopping.min_new_tokens",
    "stop": "params.stopping.stop_sequences",
    "temperature": "params.sampling.temperature",
    "top_k": "params.sampling.top_k",
    "top_p": "params.sampling.top_p",
    "seed": "params.sampling.seed",
    "repetition_penalty": "params.decoding.repetition_penalty",
    "structure": "params.decoding.guided",
}
"""Our fields by this service's names, for errors."""


Named = fmaas_pb2.BatchedGenerationRequest | fmaas_pb2.SingleGenerationRequest | fmaas_pb2.BatchedTokenizeRequest
"""A message that may name an adapter."""


class Asked(NamedTuple):
    """The parameters of a request, without its prompt."""

    sampling: inference_pb2.Sampling
    draws_seed: bool
    """Whether each answer has a seed of its own."""
    structure: inference_pb2.Structure | None
    response: fmaas_pb2.ResponseOptions
    last: int
    """Of the prompt's tokens, so many; 0 for all."""
    seconds: float | None
    """After which it ends with what there is."""
    includes_stop: bool
    """Whether the text has the stop sequence too."""

    def generate(self, request: inference_pb2.GenerateRequest, room: int) -> inference_pb2.GenerateRequest:
        """The request with these parameters, and a seed of its own where none was given; what fits in `room` tokens."""
        request.sampling.CopyFrom(self.sampling)
        request.sampling.max_new_tokens = min(self.sampling.max_new_tokens, room)
        if self.draws_seed:
            request.sampling.seed = 1 + secrets.randbelow((1 << 32) - 1)
        if self.structure is not None:
            request.structure.CopyFrom(self.structure)
        return request


def asked(params: fmaas_pb2.Parameters) -> Asked:
    """Raises InvalidInputError naming the field."""
    stopping, seconds = params.stopping, params.stopping.time_limit_millis / 1000
    return Asked(
        _sampling(params),
        params.method == fmaas_pb2.SAMPLE and not params.sampling.HasField("seed"),
        _structure(params.decoding),
        _response(params.response),
        params.truncate_input_tokens,
        seconds or None,
        stopping.include_stop_sequence if stopping.HasField("include_stop_sequence") else True,
    )


def adapter_of(request: Named) -> str:
    """A reference; empty for the bare base. Raises InvalidInputError for what stood in its place before."""
    if request.prefix_id:
        raise refused("prefix_id", "adapter_id names an adapter of any method")
    return request.adapter_id


def refused(field: str, instead: str) -> InvalidInputError:
    """What is said of a field that we do not serve."""
    return InvalidInputError(f"{field}: not served; {instead}", field=field)


def _sampling(params: fmaas_pb2.Parameters) -> inference_pb2.Sampling:
    stopping, response = params.stopping, params.response
    if stopping.max_new_tokens > MAX_NEW_TOKENS:
        field = FIELDS["max_new_tokens"]
        raise InvalidInputError(f"{field}: {stopping.max_new_tokens} (accepted: 0 to {MAX_NEW_TOKENS})", field=field)
    sampling = inference_pb2.Sampling(
        max_new_tokens=stopping.max_new_tokens or DEFAULT_NEW_TOKENS,
        min_tokens=stopping.min_new_tokens,
        stop=stopping.stop_sequences,
    )
    if params.method == fmaas_pb2.SAMPLE:
        _draw(params.sampling, sampling)
    elif params.method != fmaas_pb2.GREEDY:
        raise InvalidInputError(f"params.method: {params.method} (accepted: GREEDY, SAMPLE)", field="params.method")
    if params.decoding.HasField("length_penalty"):
        raise refused("params.decoding.length_penalty", "params.stopping has bounds of the answer's length")
    if params.decoding.repetition_penalty not in (0, 1):
        sampling.repetition_penalty = _decimal(params.decoding.repetition_penalty)
    if response.token_logprobs or response.top_n_tokens:
        if response.generated_tokens:
            sampling.logprobs = response.top_n_tokens
        if response.input_tokens:
            sampling.prompt_logprobs = response.top_n_tokens
    return sampling


def _draw(given: fmaas_pb2.SamplingParameters, sampling: inference_pb2.Sampling) -> None:
    if 0 < given.typical_p < 1:
        raise refused("params.sampling.typical_p", "accepted: 0 or 1, which do nothing, or top_p")
    sampling.temperature = _decimal(given.temperature) if given.HasField("temperature") else 1
    sampling.top_k = given.top_k
    if given.top_p:
        sampling.top_p = _decimal(given.top_p)
    if given.HasField("seed"):
        sampling.seed = given.seed


def _decimal(value: float) -> float:
    """The number that a 4-byte float was written as: 0.9, not 0.8999999761581421."""
    return float(f"{value:.7g}")


def _structure(decoding: fmaas_pb2.DecodingParameters) -> inference_pb2.Structure | None:
    match decoding.WhichOneof("guided"):
        case "format":
            return inference_pb2.Structure(json_schema=ANY_JSON) if decoding.format else None
        case "json_schema":
            return inference_pb2.Structure(json_schema=decoding.json_schema)
        case "regex":
            return inference_pb2.Structure(regex=decoding.regex)
        case "choice":
            return inference_pb2.Structure(choice=inference_pb2.Options(texts=decoding.choice.choices))
        case "grammar":
            return inference_pb2.Structure(grammar=decoding.grammar)
        case _:
            return None


def _response(options: fmaas_pb2.ResponseOptions) -> fmaas_pb2.ResponseOptions:
    if options.token_ranks:
        raise refused("params.response.token_ranks", "top_n_tokens tells the likeliest tokens in their order")
    if options.top_n_tokens > MAX_TOP_TOKENS:
        field = "params.response.top_n_tokens"
        raise InvalidInputError(f"{field}: {options.top_n_tokens} (accepted: 0 to {MAX_TOP_TOKENS})", field=field)
    if (options.token_logprobs or options.top_n_tokens) and not (options.input_tokens or options.generated_tokens):
        field = "params.response.token_logprobs" if options.token_logprobs else "params.response.top_n_tokens"
        raise InvalidInputError(f"{field}: needs input_tokens or generated_tokens, of which it tells", field=field)
    return options
