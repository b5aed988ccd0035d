"""What an engine tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from adapterhub.errors import AdapterHubError

Tier = Literal["resident", "loading", "queued", "host", "disk", "failed"]
"""Ready to run; being read, checked and bound; waiting for that; in host memory; only in its files; failed of late."""


class AdapterStatus(NamedTuple):
    """One known adapter, as `Engine.adapters` lists it."""

    digest: str
    method: str
    nbytes: int
    running: int
    """Requests that hold it."""
    tier: Tier
    pinned: bool = False
    failure: AdapterHubError | None = None
    """Why the last load failed, when it did."""


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
    loading: int = 0
    """Requests whose adapter is not resident yet, or whose structure is not compiled."""
    evictions: int = 0
    """Times an adapter made room for another."""
    preemptions: int = 0
    """Times a running sequence gave its blocks back and was put off."""
    looked_up_tokens: int = 0
    """Positions of requests as they were first admitted, virtual tokens included."""
    reused_tokens: int = 0
    """Those of them found in the prefix cache instead of computed; the ratio is its hit rate."""
    kv_tokens_free: int = 0
    kv_tokens_total: int = 0
