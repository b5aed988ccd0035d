"""What came of a trial. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from adapterhub.adapter import Adapter
from adapterhub.sweep.grid import Trial
from adapterhub.train.general_change import GeneralChange

State = Literal["trained", "kept", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """An adapter with its figures, or the reason why there is none."""

    trial: Trial
    state: State
    """`kept`: an earlier run of the sweep trained it; `refused`: nothing was tried."""
    reason: str = ""
    """Why there is no adapter."""
    digest: str = ""
    parameters: int = 0
    """Trained tensors' elements, as they are saved."""
    seconds: float | None = None
    """Of the steps; None where this run made none."""
    evaluations: dict[str, float] = field(default_factory=dict)
    general: GeneralChange | None = None

    @classmethod
    def of(cls, trial: Trial, adapter: Adapter, digest: str, seconds: float | None) -> Self:
        """Of an adapter that is in the store; `seconds` when it was trained just now."""
        assert adapter.provenance is not None
        return cls(
            trial,
            "kept" if seconds is None else "trained",
            digest=digest,
            parameters=adapter.num_parameters,
            seconds=seconds,
            evaluations=dict(adapter.provenance.evaluations),
            general=GeneralChange.of(adapter.provenance.forgetting),
        )

    @property
    def loss(self) -> float:
        """The validation loss it is ranked by; infinite where there is none."""
        return self.evaluations.get("validation_loss_after", math.inf)

    def as_json(self) -> dict[str, Any]:
        if self.reason:
            return {"ref": self.trial.ref, "state": self.state, "reason": self.reason, "varied": self.trial.varied}
        return {
            "ref": self.trial.ref,
            "state": self.state,
            "digest": self.digest,
            "varied": self.trial.varied,
            "parameters": self.parameters,
            "validation_loss_before": self.evaluations.get("validation_loss_before"),
            "validation_loss_after": self.evaluations.get("validation_loss_after"),
            **(self.general.as_json() if self.general else {}),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


def ranked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The lowest validation loss first; what has none at the end, in the order tried."""
    return sorted(outcomes, key=lambda outcome: outcome.loss)
