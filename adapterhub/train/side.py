"""One side of a run's data, as its trainer's rows."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, NamedTuple, Self

from adapterhub.base import BaseModel
from adapterhub.data import Dataset
from adapterhub.encoder import IGNORED, Encoder, Shortened
from adapterhub.errors import DataError
from adapterhub.objective import LossObjective
from adapterhub.plugins import blamed_on
from adapterhub.train.bare_base import BareBase
from adapterhub.train.goal import Goal


class Side(NamedTuple):
    """What is trained on, or what is held out."""

    rows: list[Any]
    shortened: dict[str, int]
    """How many were cut or left out because they were too long, where some were."""

    @classmethod
    def of(cls, goal: Goal, dataset: Dataset, encoder: Encoder, base: BaseModel) -> Self:
        """Raises as the objective, DataError when nothing of any row is learned, and PluginError when it failed."""
        if not dataset.records:
            return cls([], {})
        own = replace(encoder, source=dataset.source, shortened=Shortened())
        with blamed_on(goal.objective):
            rows = goal.objective.prepare(goal.options, dataset.records, own, BareBase(base))
        given = len(rows)
        if isinstance(goal.objective, LossObjective):
            rows = [row for row in map(_first_unlearned, rows) if any(label != IGNORED for label in row["labels"])]
        if not rows:
            left_out = own.shortened.dropped
            reason = (
                f"all {left_out} rows are over {own.limit} tokens, or their prompts alone are; raise max_length"
                if left_out
                else f"no token of its {given} rows is in the loss"
            )
            raise DataError(dataset.source, dataset.records[0].line, f"nothing to learn: {reason}")
        own.shortened.dropped += given - len(rows)
        return cls(rows, {name: count for name, count in asdict(own.shortened).items() if count})


def _first_unlearned(row: Any) -> Any:
    """The row without its first token in the loss, which nothing is in front of."""
    labels = row["labels"]
    return row if labels[0] == IGNORED else {**row, "labels": [IGNORED, *labels[1:]]}
