"""Options of distillation on the student's own answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from adapterhub.objective import ObjectiveConfig


class GkdConfig(ObjectiveConfig):
    """Options of distillation on the student's own answers (Agarwal et al., 2024, arXiv:2306.13649)."""

    teacher: str
    """A model with the base's vocabulary: a built-in name, a folder, or a Hub id (org/name[@revision])."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """How `teacher` is held, for all of the run: none, int8 or nf4."""
    student_share: float = Field(default=1.0, ge=0, le=1)
    """The paper's lambda: share of steps whose answers the student makes up; the others learn those of the data."""
    beta: float = Field(default=0.5, ge=0, le=1)
    """Of the divergence: 0 is KL(teacher || student), 1 is KL(student || teacher), between them Jensen-Shannon's."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the sampling of answers, and of both distributions in the divergence."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Most tokens of an answer."""

    @model_validator(mode="before")
    @classmethod
    def _another_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("teacher_adapter") is not None:
            raise ValueError(
                "teacher_adapter is of distill; here the teacher answers while the student learns, and is a model "
                "beside it (accepted: teacher)"
            )
        return values
