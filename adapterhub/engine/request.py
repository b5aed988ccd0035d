"""What goes into the engine and what comes out: requests, and events of their progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from adapterhub.config import Config
from adapterhub.errors import AdapterHubError

FinishReason = Literal["stop", "length", "cancelled", "error"]
StopString = Annotated[str, Field(min_length=1, max_length=128)]


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


@dataclass(frozen=True)
class Request:
    """One generation. `adapter` is a content digest, or empty for the bare base."""

    prompt_ids: tuple[int, ...]
    adapter: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    salt: str = ""
    """Tenants with different salts share no cached keys and values, and take turns."""


class TokenLogprobs(NamedTuple):
    """How likely a generated token was, from the raw logits: before temperature, top_k and top_p."""

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
    """Of a request with stop strings, the text that is new and before any of them; None for others."""
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each new token, where the request asks for them."""
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
