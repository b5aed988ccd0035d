"""What to check of training data, and against what."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from adapterhub.config import Config
from adapterhub.prompt_format import FormatKind


class CheckConfig(Config):
    """One check."""

    validation: Path | None = None
    """Held-out examples, which should share no prompt with the data."""
    format: str | None = None
    """The format of the data; by default that of the first record that has one."""
    objective: str | None = None
    """What training is to reach; records it does not learn from are errors."""
    base: str | None = None
    """The base whose tokens are counted; without it, characters are."""
    max_length: int = Field(default=512, ge=2)
    """Most tokens of a prompt with its response, as in training; longer ones are errors. Needs a base."""
    prompt_format: FormatKind | None = None
    """raw or chat. By default chat where the base has a chat template."""
    system_prompt: str | None = None
    """The system turn of a chat; the template's own when absent."""
