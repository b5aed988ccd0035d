"""What a route is, and which of its targets a request gets."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from adapterhub.config import Config
from adapterhub.store import AdapterRef
from adapterhub_server.sizes import MAX_SYSTEM_PROMPT_BYTES

SECRET_METADATA = ("authorization",)
"""Metadata that no rule may look at: what is in a rule can be listed."""


class Target(Config):
    """An adapter and its share of the requests."""

    adapter: str = ""
    """A reference; empty for the bare base."""
    weight: int = Field(default=1, ge=0, le=1_000_000)
    """Its share is this over the sum of all."""

    @field_validator("adapter")
    @classmethod
    def _is_ref(cls, adapter: str) -> str:
        if adapter:
            AdapterRef.parse(adapter)
        return adapter


def _some_weight(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    if not any(target.weight for target in targets):
        raise ValueError("all weights are 0; at least one must not be")
    return targets


Targets = Annotated[tuple[Target, ...], Field(min_length=1, max_length=64)]


class Rule(Config):
    """Targets for requests with certain metadata."""

    name: str = Field(pattern=r"^[a-z0-9._-]{1,64}$")
    metadata: dict[str, Annotated[str, Field(max_length=1024)]] = Field(min_length=1, max_length=16)
    """Keys in lower case, and the values they must have; all of them."""
    targets: Targets

    @field_validator("metadata")
    @classmethod
    def _keys(cls, metadata: dict[str, str]) -> dict[str, str]:
        for key in metadata:
            if key != key.lower() or not 0 < len(key) <= 128:
                raise ValueError(f"{key!r} is not a key of metadata (accepted: 1 to 128 characters, lower case)")
            if key in SECRET_METADATA:
                raise ValueError(f"{key!r} is a secret, and rules can be listed")
        return metadata

    _weights = field_validator("targets")(_some_weight)

    def matches(self, metadata: Mapping[str, set[str]]) -> bool:
        """Whether a request with this metadata, key to values, meets the rule."""
        return all(value in metadata.get(key, ()) for key, value in self.metadata.items())


class Route(Config):
    """What a task's requests are answered by."""

    task: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]{0,127}$")
    rules: tuple[Rule, ...] = Field(default=(), max_length=64)
    """Tried in this order; the first that matches decides."""
    targets: Targets
    """Where no rule matches."""
    fallback: Literal["error", "base"] = "error"
    """What happens when the chosen adapter is not there: an error, or the bare base answers."""
    system_prompt: str | None = None
    """The system turn of chats that come by this route and bring none, in place of the adapter's."""

    _weights = field_validator("targets")(_some_weight)

    @field_validator("system_prompt")
    @classmethod
    def _size(cls, system_prompt: str | None) -> str | None:
        if system_prompt is not None and len(system_prompt.encode()) > MAX_SYSTEM_PROMPT_BYTES:
            raise ValueError(f"over {MAX_SYSTEM_PROMPT_BYTES} bytes in UTF-8")
        return system_prompt

    @field_validator("rules")
    @classmethod
    def _names(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named {name!r}")
        return rules


def pick(targets: Iterable[Target], seed: str) -> Target:
    """One of the targets, each as often as its weight says; the same for the same seed.

    Weighted rendezvous hashing: a target's weight that changes moves only the seeds it wins or loses.
    Source: Schindelhauer and Schomaker 2005, "Weighted Distributed Hash Tables", the logarithmic method.
    """

    def score(target: Target) -> float:
        digest = hashlib.sha256(f"{target.adapter}\0{seed}".encode()).digest()
        share = (int.from_bytes(digest[:7]) + 1) / (1 << 56)  # in (0, 1]
        return target.weight / -math.log(share) if share < 1 else math.inf

    return max((target for target in targets if target.weight), key=score)


def draw(targets: Iterable[Target], task: str, key: str) -> Target:
    """One of a task's targets: the same for the same key, and without one a new draw."""
    return pick(targets, f"{task}\0{key}" if key else secrets.token_hex(16))
