"""What a training run leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adapterhub.adapter import Adapter, BaseRecord, Provenance


@dataclass(frozen=True)
class TrainedModel:
    """A model folder: a base of its own, which transformers and `--base FOLDER` load."""

    base: BaseRecord
    """What it is called as a base, and the digest of its weights."""
    provenance: Provenance
    """How it came to be; `Provenance.base` is what it was made from."""


class TrainStep(NamedTuple):
    """One optimizer step that was just made."""

    step: int
    """Counted from 1."""
    total: int
    loss: float
    """Mean over the step's response tokens, in nats; with the method's own term, if it has one."""


Progress = Callable[[TrainStep], None]


@dataclass(frozen=True)
class TrainResult:
    """A saved adapter, checked against its plan, or a base, with the figures of its training."""

    folder: Path
    made: Adapter | TrainedModel
    """A model only of method full."""
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

    @property
    def adapter(self) -> Adapter:
        """What was made, where it is an adapter."""
        assert not isinstance(self.made, TrainedModel), "method full makes a model"
        return self.made

    @property
    def model(self) -> TrainedModel:
        """What was made, where it is a base."""
        assert isinstance(self.made, TrainedModel), "only method full makes a model"
        return self.made

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds
