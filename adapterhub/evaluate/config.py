"""What to evaluate on, and how: the settings of one evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from adapterhub.config import Config
from adapterhub.prompt_format import FormatKind

EvalQuantization = Literal["none", "int8", "nf4"]
DEFAULT_METRICS = ("exact_match", "token_f1")
"""Those that need nothing installed."""
DEFAULT_SHOTS = (4,)
"""Where there are examples to take them from."""


class EvalConfig(Config):
    """One evaluation: the base prompted in several ways and any number of adapters, on the same held-out examples."""

    data: Path
    """File of held-out examples, in any of the known formats."""
    examples: Path | None = None
    """File that few-shot examples are taken from: the training set."""
    shots: tuple[int, ...] | None = None
    """How many examples stand in the prompt; one row of the table for each. By default 4 where there are examples."""
    base: str = ""
    """Where the base is, if not where the first adapter's record says."""
    metric: tuple[str, ...] = DEFAULT_METRICS
    """What scores the answers, `name` or `name=argument`; the verdict is on the first."""
    max_new_tokens: int = Field(default=64, ge=1, le=8192)
    """The most tokens of an answer."""
    quantization: EvalQuantization | None = None
    """How the base is held; by default as for serving: int8 on the CPU, nf4 on CUDA."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only so many of the held-out examples, drawn by the seed."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides which examples stand in prompts, which are asked under a limit, and the bootstrap's draws."""
    prompt_format: FormatKind | None = None
    """raw or chat, of the base's prompts; by default the first adapter's recorded format."""
    instruction: str = ""
    """Text in front of the base's prompts: a chat's system turn, else the first lines."""
    prompt_price: float | None = Field(default=None, ge=0)
    """Price of a million prompt tokens."""
    generated_price: float | None = Field(default=None, ge=0)
    """Price of a million generated tokens."""

    @field_validator("shots")
    @classmethod
    def _some_each(cls, shots: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if shots is not None and any(each < 1 for each in shots):
            raise ValueError("whole numbers from 1 up are accepted; zero-shot has its row anyway")
        return None if shots is None else tuple(dict.fromkeys(shots))

    @field_validator("metric")
    @classmethod
    def _each_once(cls, metric: tuple[str, ...]) -> tuple[str, ...]:
        if not metric:
            raise ValueError("at least one metric is needed")
        return tuple(dict.fromkeys(metric))
