"""A run under way, as its objective sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from adapterhub.encoder import Encoder
from adapterhub.method import Method, MethodConfig
from adapterhub.train.goal import Goal
from adapterhub.train.job import TrainJob


@dataclass(frozen=True)
class Learning:
    """`adapterhub.objective.Run` of one job."""

    job: TrainJob
    model: Any
    """The adapter on the base; of a validation before there is one, the bare base."""

    @property
    def goal(self) -> Goal:
        return self.job.goal

    @property
    def method(self) -> Method[Any]:
        return self.job.method

    @property
    def options(self) -> MethodConfig:
        return self.job.options

    @property
    def encoder(self) -> Encoder:
        return self.job.encoder

    @property
    def batch_size(self) -> int:
        return self.job.config.batch_size

    @property
    def seed(self) -> int:
        return self.job.config.seed

    @property
    def device(self) -> torch.device:
        return self.job.base.device
