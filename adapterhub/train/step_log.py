"""The losses of a run's steps, told on as they come."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from adapterhub.errors import ConfigError
from adapterhub.train.config import TrainConfig
from adapterhub.train.result import Progress, TrainStep


class StepLog(TrainerCallback):
    """Keeps every step's loss and passes it on; stops when it is no number."""

    def __init__(self, config: TrainConfig, progress: Progress | None) -> None:
        self.losses: list[float] = []
        self._config = config
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise ConfigError(
                f"learning_rate: the loss is {loss} at step {state.global_step} with {self._config.learning_rate}; "
                "try a lower one",
                field="learning_rate",
            )
        self.losses.append(loss)
        if self._progress is not None:
            self._progress(TrainStep(state.global_step, state.max_steps, loss))
