"""What an evaluation on held-out examples found of one adapter, as its record keeps it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adapterhub.config import Config


class RecordedRow(Config):
    """One line of the table: the base prompted in some way, or the adapter."""

    label: str
    """`base, zero-shot`, `base, 8-shot`, `with the adapter`."""
    prompt_tokens: float
    """Of a request, on average; virtual tokens are not among them."""
    generated_tokens: float
    """Of a request, on average."""
    scores: dict[str, float]
    """By metric, from 0 to 1."""
    intervals: dict[str, tuple[float, float]]
    """By metric, 95 % of the bootstrap's figures."""


class EvaluationRecord(Config):
    """One evaluation, without names of files or of other adapters."""

    data_sha256: str
    """Digest of the file of held-out examples."""
    examples: int
    """How many of them were asked."""
    rows: tuple[RecordedRow, ...]
    """The prompts', and last the adapter's own."""
    verdict: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """How it was done: the seed, the longest answer, how the base was held."""
