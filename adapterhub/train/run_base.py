"""The base of a run as the method's start may use it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapterhub.train.job import TrainJob

SEEN = 256
"""Most training examples that a start sees; CorDA's authors find as many enough."""


@dataclass(frozen=True)
class RunBase:
    """`adapterhub.method_training.TrainingBase` of one run."""

    job: TrainJob

    @property
    def model(self) -> Any:
        return self.job.base.model

    @property
    def targets(self) -> list[str]:
        return self.job.targets()

    def weight(self, module: str) -> Tensor:
        return self.job.base.weights.weight(module)

    def original(self, module: str) -> Tensor:
        return self.job.base.original.weight(module)

    def see_examples(self) -> None:
        """Run the model over at most SEEN training examples, chosen by the seed, one in each call: [1, tokens]."""
        examples = self.job.train
        chosen = random.Random(self.job.config.seed).sample(examples, min(SEEN, len(examples)))  # noqa: S311
        with torch.no_grad():
            for example in chosen:
                tokens = list(self.job.goal.objective.tokens(example))
                input_ids = torch.tensor([tokens], device=self.job.base.device)
                self.model(input_ids=input_ids, use_cache=False, logits_to_keep=1)
