"""What a trainer tells of its steps, noted and told on."""

from __future__ import annotations

import math
import time
from typing import Any

from transformers import TrainerCallback

from adapterhub.errors import ConfigError
from adapterhub.train.config import TrainConfig
from adapterhub.train.course import Course
from adapterhub.train.result import CheckpointSaved, TrainStep, Watch


class StepLog(TrainerCallback):
    """Notes every step in the course and tells `watch`; stops when a loss is no number."""

    def __init__(self, config: TrainConfig, course: Course, watch: Watch) -> None:
        self._config = config
        self._course = course
        self._watch = watch
        self._started = 0.0
        self._seconds = 0.0
        self._tokens = course.tokens

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._seconds = time.perf_counter() - self._started

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        loss, rate = logs["loss"], logs.get("learning_rate", 0.0)
        if not math.isfinite(loss):
            raise ConfigError(self._advice(state.global_step, loss), field="learning_rate")
        tokens = int(state.num_input_tokens_seen)
        step = TrainStep(state.global_step, state.max_steps, loss, rate, tokens - self._tokens, self._seconds)
        self._tokens = tokens
        self._course.steps.append(step)
        self._watch(step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watch(CheckpointSaved(state.global_step))

    def _advice(self, step: int, loss: float) -> str:
        advice = f"learning_rate: the loss is {loss} at step {step} with {self._config.learning_rate}; try a lower one"
        return f"{advice}, or a longer warmup (here {self._config.warmup})"
