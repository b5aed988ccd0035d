"""What training is to reach: an objective with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from adapterhub.data import Dataset
from adapterhub.errors import ConfigError, DataError
from adapterhub.method import BaseShape
from adapterhub.objective import LossObjective, Objective, ObjectiveConfig
from adapterhub.plugins import load_objectives
from adapterhub.records import KINDS
from adapterhub.train.choice import Choice


class Goal(NamedTuple):
    """An objective and its options."""

    objective: Objective[Any]
    options: ObjectiveConfig

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Self:
        """The objective of that name. Raises ConfigError listing the known ones, or naming a wrong option."""
        objective = load_objectives().get(name)
        return cls(objective, objective.Config.load(options, where=f"objective {name}"))

    @property
    def loss(self) -> LossObjective[Any]:
        """The objective where it is a loss over tokens."""
        assert isinstance(self.objective, LossObjective)
        return self.objective

    def check(self, choice: Choice | None, shape: BaseShape) -> None:
        """Raises ConfigError when adapters of that method, or without one all of a base, are not trained so."""
        if choice is None:
            if not self.objective.whole:
                raise ConfigError(
                    f"objective {self.objective.name} with method full: it needs an adapter on a frozen base",
                    field="objective",
                )
            return
        if reason := self.objective.refuses(self.options, choice.method, choice.options, shape):
            raise ConfigError(
                f"objective {self.objective.name} with method {choice.method.name}: {reason}", field="objective"
            )

    def check_data(self, dataset: Dataset) -> None:
        """Raises DataError naming the first record of a kind that the objective does not learn from."""
        accepted = self.objective.records
        for record in dataset.records:
            if not isinstance(record, accepted):
                wanted = " or ".join(KINDS[kind] for kind in accepted)
                raise DataError(
                    dataset.source,
                    record.line,
                    f"objective {self.objective.name} learns from {wanted}, not from {KINDS[type(record)]}",
                )
