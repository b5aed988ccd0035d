"""What a training run leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.train.sample import Sample


class TrainStep(NamedTuple):
    """One optimizer step that was just made."""

    step: int
    """Counted from 1."""
    total: int
    loss: float
    """Mean over the step's response tokens, in nats; with the method's own term, if it has one."""


class Validation(NamedTuple):
    """What is held out, measured after a step."""

    step: int
    loss: float


Progress = Callable[[TrainStep], None]


@dataclass(frozen=True)
class TrainResult:
    """A saved adapter, checked against its plan, with the figures of its training."""

    folder: Path
    adapter: Adapter
    loss_before: float | None
    """Validation loss of the bare base, in nats per response token; None without held-out examples."""
    loss_after: float | None
    """Validation loss with the adapter."""
    losses: tuple[float, ...]
    """Training loss of every step, as in `TrainStep`."""
    tokens: int
    """Tokens of prompts and responses seen in training, pads not counted."""
    seconds: float
    """Time of the steps alone."""
    validations: tuple[Validation, ...] = ()
    best_step: int | None = None
    """After which step the adapter was as it is saved, where validation chose it; None without held-out examples."""
    peak_bytes: int = 0
    """Most memory held."""
    samples: tuple[Sample, ...] = ()
    """Held-out prompts answered before and after."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds
