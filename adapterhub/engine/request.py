"""What goes into the engine and what comes out: requests, and events of their progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from adapterhub.config import Config
from adapterhub.errors import AdapterHubError
from adapterhub.structure import Structure

FinishReason = Literal["stop", "length", "cancelled", "error"]
StopString = Annotated[str, Field(min_length=1, max_length=128)]
TokenId = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class Sampling(Config):
    """How tokens are chosen. The limits are those of the service's fields."""

    max_new_tokens: int = Field(default=128, ge=1, le=8192)
    """The most tokens to generate."""
    temperature: float = Field(default=0.0, ge=0, le=10)
    """0 takes the likeliest token."""
    top_k: int = Field(default=0, ge=0, le=1 << 20)
    """Choose among the k likeliest; 0 means all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Choose among the likeliest whose probabilities reach p."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """The noise of token i is a function of the seed and i alone."""
    ignore_eos: bool = False
    """Go on past the end-of-sequence token."""
    stop: tuple[StopString, ...] = Field(default=(), max_length=16)
    """End where the generated text comes to one of these; the text ends before it."""
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Tell each token's log-probability, and those of as many of the likeliest."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Choose among the tokens at least this much as likely as the likeliest."""
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    """Divides positive logits of the prompt's and the text's tokens, and multiplies negative ones."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken from the logit of every token that was generated."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken from a token's logit as often as it was generated."""
    logit_bias: dict[TokenId, Bias] = Field(default={}, max_length=1024)
    """Added to tokens' logits, by token id."""
    min_tokens: int = Field(default=0, ge=0)
    """Nothing but `max_new_tokens` ends the text before so many tokens. At most `max_new_tokens`."""
    bad_words: tuple[StopString, ...] = Field(default=(), max_length=64)
    """Texts that are never generated, as the tokenizer cuts them, alone and behind a space."""
    stop_token_ids: tuple[TokenId, ...] = Field(default=(), max_length=64)
    """Tokens that end the text beside the base's own; the text ends before them."""
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Tell the log-probability of each token of the prompt but the first, and those of as many of the likeliest."""
    lookup_tokens: int = Field(default=0, ge=0, le=16)
    """Guess up to so many tokens a step from what prompt and text repeat; the answer is the same."""

    @field_validator("min_tokens")
    @classmethod
    def _fits(cls, value: int, others: ValidationInfo) -> int:
        most = others.data.get("max_new_tokens", value)
        if value > most:
            raise ValueError(f"more than max_new_tokens (accepted: 0 to {most})")
        return value

    @property
    def cuts_text(self) -> bool:
        """Whether the text may end before the tokens do."""
        return bool(self.stop or self.stop_token_ids)


@dataclass(frozen=True)
class Request:
    """One generation. `adapter` is a content digest, or empty for the bare base."""

    prompt_ids: tuple[int, ...]
    adapter: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    salt: str = ""
    """Tenants with different salts share no cached keys and values, and take turns."""
    structure: Structure | None = None
    """What the text must be. It ends where it is whole; where `max_new_tokens` ends it, it is a beginning of one."""
    silent: frozenset[int] | None = None
    """The special tokens that have no text in the answer; None for all of the tokenizer's."""


class TokenLogprobs(NamedTuple):
    """How likely a token was, from the raw logits: before every option that changes them."""

    chosen: float
    """Log-probability of the token itself."""
    top: tuple[tuple[int, float], ...]
    """The likeliest tokens with theirs, the likeliest first."""


class Steps(NamedTuple):
    """Which of the engine's steps, counted from 1, computed one generation."""

    first: int
    last: int
    taken: int
    """How many from the first to the last; fewer where it was put off."""


class Event(NamedTuple):
    """Progress of one request: new tokens, and in its last event why it ended."""

    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    error: AdapterHubError | None = None
    text: str | None = None
    """Of a request with stop strings or stop tokens, the text that is new and before any of them; None for others."""
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each new token, where the request asks for them."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """In the first event with a token: one for each token of the prompt but the first, where the request asks."""
    steps: Steps | None = None
    """In the last event of a generation that has ended."""


class Completion(NamedTuple):
    """A finished request of an offline batch."""

    text: str
    """The generated text, without special tokens; it ends before a stop string."""
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token, where the request asked for them."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token of the prompt but the first, likewise."""
