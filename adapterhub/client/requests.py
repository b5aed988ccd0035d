"""What the client sends: generation requests, built from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypedDict

from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2

FormatKind = Literal["raw", "chat"]

_KINDS = {
    "raw": inference_pb2.PromptFormat.KIND_RAW,
    "chat": inference_pb2.PromptFormat.KIND_CHAT,
}


class Turn(NamedTuple):
    """What one side of a chat said."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | Sequence[int] | Sequence[Turn]
"""Text, token ids, or the turns of a chat."""

_ROLES = {
    "system": inference_pb2.Turn.ROLE_SYSTEM,
    "user": inference_pb2.Turn.ROLE_USER,
    "assistant": inference_pb2.Turn.ROLE_ASSISTANT,
}


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen; the limits and defaults are the server's."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    ignore_eos: bool
    stop: Sequence[str]
    logprobs: int
    lookup_tokens: int


def generate_request(
    prompt: Prompt,
    adapter: str,
    task: str,
    route_key: str,
    kind: FormatKind | None,
    system_prompt: str | None,
    sampling: SamplingOptions,
    blend: Mapping[str, float] | None = None,
) -> inference_pb2.GenerateRequest:
    """Raises InvalidInputError for a value that cannot be sent at all; the server checks the others."""
    request = inference_pb2.GenerateRequest(sampling=_sampling(sampling))
    _fill(request, prompt, adapter, kind, system_prompt)
    for field, value in (("task", task), ("route_key", route_key)):
        with _naming(field):
            setattr(request, field, value)
    if blend is not None:
        with _naming("blend"):
            request.blend.SetInParent()  # one of nothing is a blend too, and refused
            for ref, weight in blend.items():
                request.blend.adapters.add(adapter=ref, weight=weight)
    return request


def tokenize_request(
    prompt: str | Sequence[Turn], adapter: str, kind: FormatKind | None, system_prompt: str | None
) -> inference_pb2.TokenizeRequest:
    """Raises as `generate_request`."""
    request = inference_pb2.TokenizeRequest()
    _fill(request, prompt, adapter, kind, system_prompt)
    return request


def _fill(
    request: inference_pb2.GenerateRequest | inference_pb2.TokenizeRequest,
    prompt: Prompt,
    adapter: str,
    kind: FormatKind | None,
    system_prompt: str | None,
) -> None:
    if isinstance(prompt, str):
        with _naming("text"):
            request.text = prompt
    elif prompt and isinstance(prompt[0], Turn):
        with _naming("chat"):
            turns = [inference_pb2.Turn(role=_ROLES[role], content=content) for role, content in prompt]  # type: ignore[misc]
            request.chat.CopyFrom(inference_pb2.Chat(turns=turns))
    else:
        with _naming("token_ids"):
            request.token_ids.CopyFrom(inference_pb2.TokenIds(ids=prompt))  # type: ignore[union-attr,arg-type]
    with _naming("adapter"):
        request.adapter = adapter
    if kind is not None or system_prompt is not None:
        request.prompt_format.kind = _kind(kind or "chat")
    if system_prompt is not None:
        with _naming("prompt_format.system_prompt"):
            request.prompt_format.system_prompt = system_prompt


def _sampling(options: SamplingOptions) -> inference_pb2.Sampling:
    message = inference_pb2.Sampling()
    for name, value in options.items():
        if isinstance(value, int) and value < 0:
            raise InvalidInputError(f"sampling.{name}: {value} (accepted: 0 or more)", field=f"sampling.{name}")
        with _naming(f"sampling.{name}"):
            if name == "stop":
                message.stop.extend(_strings(value))
            else:
                setattr(message, name, value)
    return message


def _strings(value: object) -> list[str]:
    """One string is no list of its letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{value!r} is not a list of strings")
    return list(value)


def _kind(kind: FormatKind) -> inference_pb2.PromptFormat.Kind:
    if kind not in _KINDS:
        raise InvalidInputError(
            f"prompt_format.kind: {kind!r} (accepted: {', '.join(_KINDS)})", field="prompt_format.kind"
        )
    return _KINDS[kind]


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Raises InvalidInputError naming `field` where a value does not fit its type on the wire."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InvalidInputError(f"{field}: {error}", field=field) from None
