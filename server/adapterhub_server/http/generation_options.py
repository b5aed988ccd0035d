"""What both a completion and a chat may be asked, as our own messages have it."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from adapterhub.config import Config
from adapterhub.pb.v1 import inference_pb2

UINT32 = 1 << 32
TASK_PREFIX = "task:"

KINDS = {"raw": inference_pb2.PromptFormat.KIND_RAW, "chat": inference_pb2.PromptFormat.KIND_CHAT}

Count = Annotated[int, Field(ge=0, lt=UINT32)]
"""What the message has room for; the engine knows the limits."""


def _texts(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""One text or several."""


class Share(Config):
    """An adapter of a blend."""

    adapter: str
    weight: float = 1.0


class StreamOptions(Config):
    """Of a stream."""

    include_usage: bool = False
    """Tell what it took, in a last event without choices."""


class GenerationOptions(Config):
    """Names and meaning as OpenAI's clients have them; those that only we have come by `extra_body`."""

    model: str
    """The base's id, an adapter's reference, or `task:NAME`; empty for what a router picks, or else the base."""
    n: Count = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: Count | None = None
    temperature: float = 1.0
    top_p: float | None = None
    top_k: Annotated[int, Field(ge=-1, lt=UINT32)] = 0
    """-1 and 0 mean all."""
    min_p: float = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    """A random one where it is absent."""
    stop: Texts = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    logit_bias: dict[Count, float] = Field(default={})
    min_tokens: Count = 0
    bad_words: Texts = ()
    stop_token_ids: tuple[Count, ...] = ()
    ignore_eos: bool = False
    prompt_logprobs: Count | None = None
    return_token_ids: bool = False
    """Tell the ids of the generated tokens beside the text."""
    lookup_tokens: Count = 0
    route_key: str = ""
    prompt_format: Literal["trained", "raw", "chat"] | None = None
    blend: tuple[Share, ...] = ()

    def message(self, base: str) -> inference_pb2.GenerateRequest:
        """All but the prompt. `base` is the bare base's id."""
        message = inference_pb2.GenerateRequest(sampling=self._sampling(), route_key=self.route_key)
        if self.model.startswith(TASK_PREFIX):
            message.task = self.model.removeprefix(TASK_PREFIX)
        elif self.model != base:
            message.adapter = self.model
        if self.n != 1:
            message.n = self.n
        if self.prompt_format in KINDS:
            message.prompt_format.kind = KINDS[self.prompt_format]
        for share in self.blend:
            message.blend.adapters.add(adapter=share.adapter, weight=share.weight)
        return message

    def _sampling(self) -> inference_pb2.Sampling:
        return inference_pb2.Sampling(
            max_new_tokens=self.max_tokens,
            temperature=self.temperature,
            top_k=max(0, self.top_k),
            top_p=self.top_p,
            min_p=self.min_p,
            seed=secrets.randbits(63) if self.seed is None else self.seed,
            stop=self.stop,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
            min_tokens=self.min_tokens,
            bad_words=self.bad_words,
            stop_token_ids=self.stop_token_ids,
            ignore_eos=self.ignore_eos,
            prompt_logprobs=self.prompt_logprobs,
            lookup_tokens=self.lookup_tokens,
        )
