"""What an engine tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class AdapterStatus(NamedTuple):
    """One resident adapter, as `Engine.adapters` lists it."""

    digest: str
    method: str
    nbytes: int
    running: int
    """Requests that hold it."""


@dataclass(frozen=True)
class EngineStats:
    """Counters since the start, and what is held now."""

    steps: int = 0
    mixed_adapter_steps: int = 0
    """Steps in which rows of more than one adapter ran together."""
    mixed_method_steps: int = 0
    """Steps in which rows of more than one method ran together."""
    prompt_tokens: int = 0
    """Positions prefilled, virtual tokens included."""
    generated_tokens: int = 0
    running: int = 0
    waiting: int = 0
    preemptions: int = 0
    """Times a running sequence gave its blocks back and was put off."""
    reused_tokens: int = 0
    """Positions found in the prefix cache instead of computed."""
    kv_tokens_free: int = 0
    kv_tokens_total: int = 0
