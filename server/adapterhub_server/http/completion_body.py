"""What a completion is asked, as our own messages: one for each prompt."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from adapterhub.config import Config
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.body import WHERE, shared_out
from adapterhub_server.http.generation_options import Count, GenerationOptions
from adapterhub_server.http.structures import StructureOptions

MAX_PROMPTS = 128


class CompletionOptions(Config):
    """What only a completion may be asked."""

    prompt: Any = ""
    """A text, token ids, or a list of such."""
    best_of: Count | None = None
    logprobs: Count | None = None
    echo: bool = False
    """Give the prompt back in front of the text; with `logprobs`, its tokens' too."""
    suffix: Annotated[str, Field(max_length=0)] = ""


class Completions(NamedTuple):
    """What is asked of the engine, and how it is told."""

    messages: list[inference_pb2.GenerateRequest]
    options: GenerationOptions
    echo: bool


def read_completion(values: dict[str, Any], base: str) -> Completions:
    """Raises InvalidInputError naming what is not accepted.

    A prompt is taken as it is, without the format that an adapter was trained with, unless the request asks for it.
    """
    ours, structures, own = shared_out(values, GenerationOptions, StructureOptions, CompletionOptions)
    options = GenerationOptions.load(ours, where=WHERE)
    completion = CompletionOptions.load(own, where=WHERE)
    common = options.message(base)
    if options.max_tokens is None:
        common.sampling.max_new_tokens = 16  # as OpenAI's
    if completion.logprobs is not None:
        common.sampling.logprobs = completion.logprobs
    prompts = _prompts(completion.prompt)
    if completion.echo and options.stream:
        raise InvalidInputError("echo: not in a stream", field="echo")
    if completion.echo and completion.logprobs is not None:
        common.sampling.prompt_logprobs = completion.logprobs
    elif options.prompt_logprobs is not None and len(prompts) > 1:
        raise InvalidInputError("prompt_logprobs: of one prompt; or echo and logprobs", field="prompt_logprobs")
    if completion.best_of is not None and completion.best_of != options.n:
        common.best_of = completion.best_of
    if (structure := StructureOptions.load(structures, where=WHERE).message()) is not None:
        common.structure.CopyFrom(structure)
    return Completions([_message(common, prompt, options) for prompt in prompts], options, completion.echo)


def _message(
    common: inference_pb2.GenerateRequest, prompt: str | list[int], options: GenerationOptions
) -> inference_pb2.GenerateRequest:
    message = inference_pb2.GenerateRequest()
    message.CopyFrom(common)
    if isinstance(prompt, str):
        message.text = prompt
        if options.prompt_format is None:
            message.prompt_format.kind = inference_pb2.PromptFormat.KIND_RAW
    else:
        message.token_ids.ids.extend(prompt)
    return message


def _prompts(given: Any) -> list[str | list[int]]:
    several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    prompts = given if several else [given]
    if len(prompts) > MAX_PROMPTS:
        raise InvalidInputError(f"prompt: {len(prompts)} of them; at most {MAX_PROMPTS}", field="prompt")
    for prompt in prompts:
        is_ids = isinstance(prompt, list) and all(type(token) is int and 0 <= token < 1 << 32 for token in prompt)
        if not (isinstance(prompt, str) or is_ids):
            raise InvalidInputError("prompt: a text, token ids, or a list of such", field="prompt")
    return prompts
