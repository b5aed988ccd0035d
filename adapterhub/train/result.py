"""What a training run tells while it goes on, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.adapter import Adapter, BaseRecord, Provenance
from adapterhub.train.sample import Sample


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
    learning_rate: float = 0.0
    tokens: int = 0
    """Of this step, pads not counted."""
    seconds: float = 0.0
    """That this step took, without validation and checkpoint."""


class Validation(NamedTuple):
    """What is held out, measured after a step."""

    step: int
    loss: float
    """The objective's `measure`: for most the mean loss over response tokens, in nats."""


class CheckpointSaved(NamedTuple):
    """A checkpoint that is whole and on disk."""

    step: int


class TrainEnd(NamedTuple):
    """The last event of a run."""

    step: int
    total: int
    """Steps that were planned."""
    reason: str
    """`finished`, `early` (validation got no better), or `stopped` (somebody asked for it)."""
    best_step: int | None
    """The step of the adapter that was kept, where validation chose it."""


Event = TrainStep | Validation | CheckpointSaved | TrainEnd
Progress = Callable[[TrainStep], None]
Watch = Callable[[Event], None]

EVENTS = {TrainStep: "step", Validation: "validation", CheckpointSaved: "checkpoint", TrainEnd: "end"}


def as_json(event: Event) -> dict[str, Any]:
    """An event as an object of `log.jsonl` and of `--json-log`."""
    return {"event": EVENTS[type(event)], **event._asdict()}


class RunStopped(Exception):  # noqa: N818  nothing went wrong
    """The run was asked to stop, and did after a step. Nothing was published."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped after step {step} of {total}")
        self.step = step
        self.total = total


@dataclass(frozen=True)
class TrainResult:
    """A saved adapter, checked against its plan, or a base, with the figures of its training."""

    folder: Path
    made: Adapter | TrainedModel
    """A model only of method full."""
    loss_before: float | None
    """Validation loss of the bare base, in nats per response token; None without held-out examples."""
    loss_after: float | None
    """Validation loss with the adapter that was kept."""
    history: tuple[TrainStep, ...]
    """Every step, those before a resume too."""
    validations: tuple[Validation, ...]
    best_step: int | None
    """After which step the adapter was as it is saved, where validation chose it; None without held-out examples."""
    peak_bytes: int
    """Most memory held: on CUDA by tensors during the steps, elsewhere by the process in its whole life."""
    samples: tuple[Sample, ...] = ()
    """Held-out prompts answered before and after."""

    @property
    def losses(self) -> tuple[float, ...]:
        """Training loss of every step, as in `TrainStep`."""
        return tuple(step.loss for step in self.history)

    @property
    def tokens(self) -> int:
        """Tokens of prompts and responses seen in training, pads not counted."""
        return sum(step.tokens for step in self.history)

    @property
    def seconds(self) -> float:
        """Time of the steps alone."""
        return sum(step.seconds for step in self.history)

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
