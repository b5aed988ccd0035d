"""What training is to reach: an objective with its options."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple, Self

from adapterhub.data import Dataset, wrong_kinds
from adapterhub.errors import ConfigError
from adapterhub.method import BaseShape
from adapterhub.objective import LossObjective, Objective, ObjectiveConfig
from adapterhub.plugins import load_objectives
from adapterhub.prompt_format import FormatKind
from adapterhub.train.choice import Choice

NEEDS_ADAPTER = "it needs an adapter on a frozen base"
"""Why an objective is not one of full fine-tuning."""


class Goal(NamedTuple):
    """An objective and its options."""

    objective: Objective[Any]
    options: ObjectiveConfig

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Self:
        """The objective of that name. Raises ConfigError listing the known ones, or naming a wrong option."""
        objective = copy(load_objectives().get(name))
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
                    f"objective {self.objective.name} with method full: {NEEDS_ADAPTER}", field="objective"
                )
            return
        if reason := self.objective.refuses(self.options, choice.method, choice.options, shape):
            raise ConfigError(
                f"objective {self.objective.name} with method {choice.method.name}: {reason}", field="objective"
            )

    def check_format(self, asked: FormatKind | None) -> None:
        """Raises ConfigError when prompts of that format are not what the objective trains."""
        only = self.objective.prompt_format
        if asked is not None and only is not None and asked != only:
            raise ConfigError(
                f"prompt_format: objective {self.objective.name} trains {only} prompts, not {asked} ones",
                field="prompt_format",
            )

    def check_data(self, dataset: Dataset) -> None:
        """Raises DataError naming the first record of a kind that the objective does not learn from."""
        for fault in wrong_kinds(dataset, self.objective):
            raise fault
