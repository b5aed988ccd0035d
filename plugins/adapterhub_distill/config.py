"""Options of distillation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapterhub.objective import ObjectiveConfig, Turns


class DistillConfig(ObjectiveConfig):
    """Options of distillation. One teacher must be given."""

    teacher: str | None = None
    """A model with the base's vocabulary: a built-in name, a folder, or a Hub id (org/name[@revision])."""
    teacher_adapter: str | None = None
    """An adapter of the store: the teacher is the run's own base with it, and no second base is loaded."""
    quantization: Literal["none", "int8", "nf4"] | None = None
    """How `teacher` is held while it is asked: none (the default), int8 or nf4."""
    temperature: float = Field(default=2.0, gt=0)
    """What both sides' logits are divided by: above 1, what the teacher finds unlikely counts for more."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """Share of the response loss, as of sft; the rest is the teacher's."""
    turns: Turns = "all"
    """Which of the assistant's turns in a conversation are learned: all or the last."""

    @model_validator(mode="after")
    def _one_teacher(self) -> DistillConfig:
        if (self.teacher is None) == (self.teacher_adapter is None):
            raise ValueError("give either teacher or teacher_adapter")
        if self.teacher_adapter is not None and self.quantization is not None:
            raise ValueError("quantization is of a teacher that is loaded; with teacher_adapter it is the run's base")
        return self
