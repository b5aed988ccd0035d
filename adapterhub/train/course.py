"""How far a run is: what a checkpoint keeps of it beside tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from adapterhub.train.result import TrainStep, Validation


@dataclass
class Course:
    """Written by the callbacks of one trainer, as its steps go by."""

    steps: list[TrainStep] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    before: float | None = None
    """The validation of the adapter as it starts."""
    best: Validation | None = None
    worse: int = 0
    """Validations in a row that were no better than the best."""
    end: str = ""
    """Why the run has come to its end: `finished` or `early`; empty while it goes on."""

    @property
    def step(self) -> int:
        """The last optimizer step that was made."""
        return self.steps[-1].step if self.steps else 0

    @property
    def tokens(self) -> int:
        """Seen in all steps, pads not counted."""
        return sum(step.tokens for step in self.steps)

    def validated(self, found: Validation, *, counts: bool, greater_is_better: bool) -> bool:
        """Note a validation; whether it is the best so far, which one that does not count never is."""
        self.validations.append(found)
        if not counts:
            return False
        sign = -1 if greater_is_better else 1
        better = self.best is None or sign * found.loss < sign * self.best.loss
        self.worse = 0 if better else self.worse + 1
        if better:
            self.best = found
        return better

    def as_json(self) -> dict[str, Any]:
        """Of a checkpoint's file."""
        return {
            "steps": [list(step) for step in self.steps],
            "validations": [list(each) for each in self.validations],
            "before": self.before,
            "best": None if self.best is None else list(self.best),
            "worse": self.worse,
            "end": self.end,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `as_json` gave."""
        return cls(
            steps=[TrainStep(*step) for step in values["steps"]],
            validations=[Validation(*each) for each in values["validations"]],
            before=values["before"],
            best=None if values["best"] is None else Validation(*values["best"]),
            worse=values["worse"],
            end=values["end"],
        )
