"""When a run validates, keeps what it has and ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from adapterhub.train.adapter_state import adapter_state, save_state
from adapterhub.train.checkpoint_folder import CheckpointFolder
from adapterhub.train.course import Course
from adapterhub.train.job import TrainJob
from adapterhub.train.result import Validation, Watch

LONGEST = 200
"""Most steps from one checkpoint to the next where nobody says how many."""


class RunControl(TrainerCallback):
    """Decides after every optimizer step. All of it follows from the step and the course, so a resumed run agrees."""

    def __init__(
        self,
        job: TrainJob,
        course: Course,
        checkpoints: CheckpointFolder,
        *,
        keeps: bool,
        stop: Callable[[], bool],
        watch: Watch,
    ) -> None:
        """`keeps`: whether there are checkpoints, and not only the best adapter. `stop` is asked after every step."""
        self.stopped = False
        """Whether the run ended because `stop` said so."""
        self._job = job
        self._course = course
        self._checkpoints = checkpoints
        self._keeps = keeps
        self._stop = stop
        self._watch = watch
        self._complete = job.method.complete_from(job.options) if job.adapter else 0

    def on_step_end(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        config, step = self._job.config, state.global_step
        epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        last = step >= state.max_steps
        if last:
            self._course.end = "finished"
        elif self._stop():
            self.stopped = True
            control.should_training_stop = True
        validates = epoch if config.validate_every is None else config.validate_every
        if self._job.held_out and (last or (validates and step % validates == 0)):
            control.should_evaluate = True
        keeps = config.checkpoint_every or min(epoch, LONGEST)
        if self._keeps and (last or self.stopped or step % keeps == 0):
            control.should_save = True

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **kwargs: Any
    ) -> None:
        """After a step; the validation before the first is nobody's candidate."""
        if not self._course.steps:
            return
        objective = self._job.goal.objective
        found = Validation(state.global_step, float(metrics[objective.measure]))
        counts = found.step >= self._complete
        best = self._course.validated(found, counts=counts, greater_is_better=objective.greater_is_better)
        self._watch(found)
        if best:
            save_state(self._checkpoints.best, adapter_state(self._job, model), "the best adapter")
        patience = self._job.config.patience
        if patience and self._course.worse >= patience and not self._course.end:
            self._course.end = "early"
            control.should_training_stop = True
            control.should_save = control.should_save or self._keeps
