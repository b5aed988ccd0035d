"""The optimizer's steps, made by a trainer of transformers or TRL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.train.adapter_state import load_state, restore_adapter_state
from adapterhub.train.checkpoint_folder import CheckpointFolder
from adapterhub.train.checkpoints import ADAPTER, course_of
from adapterhub.train.control import RunControl
from adapterhub.train.course import Course
from adapterhub.train.learning import Learning
from adapterhub.train.memory import measured_memory
from adapterhub.train.result import Event, RunStopped, TrainEnd, TrainStep, Validation, Watch
from adapterhub.train.run_folder import TENSORBOARD, RunFolder
from adapterhub.train.step_log import StepLog
from adapterhub.train.tensorboard import tensorboard
from adapterhub.train.trainer import make_trainer


class Fit(NamedTuple):
    """What the steps did."""

    steps: tuple[TrainStep, ...]
    validations: tuple[Validation, ...]
    validation_before: float | None
    """As the objective measures it, with the adapter as it starts; None when nothing is held out."""
    best: Validation | None
    """Of the adapter that is on the model now; None when nothing is held out."""
    peak_bytes: int


def fit(
    learning: Learning,
    *,
    folder: RunFolder | None = None,
    watch: Watch = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train the adapter on `learning.model` in place with AdamW, and leave it as it was at its best validation.

    In a run's `folder` it leaves checkpoints, from the last of which a run that is resumed goes on; several processes
    leave none, and each keeps the best adapter for itself. Raises
    ConfigError at the first step whose loss is not finite, UnavailableError when the disk takes no checkpoint,
    and RunStopped once `stop`, which is asked after every step, says so.
    """
    job = learning.job
    with ExitStack() as around:
        checkpoints = folder.checkpoints if folder else CheckpointFolder(around.enter_context(_scratch()))
        last = checkpoints.last() if folder and folder.resumes else None
        course = course_of(last) if last else Course()
        told = [watch]
        if folder:
            folder.forget_after(course.step)
            told = [folder.log, around.enter_context(tensorboard(folder.path / TENSORBOARD, after=course.step)), watch]
        tell = _all(told)
        keeps = folder is not None and job.processes.count == 1
        control = RunControl(job, course, checkpoints, keeps=keeps, stop=stop, watch=tell)
        callbacks = [StepLog(job.config, course, tell), control]
        trainer: Any = make_trainer(learning, course, checkpoints, callbacks)
        if job.held_out and course.before is None:
            course.before = float(trainer.evaluate()[job.goal.objective.measure])
        peak = around.enter_context(measured_memory(job.base.device))
        if not course.end:
            with _recomputed(job.base.model, wanted=job.config.gradient_checkpointing):
                trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        elif last:  # all its steps were made when it was killed
            restore_adapter_state(job, learning.model, load_state(last.folder / ADAPTER))
        total = course.steps[-1].total
        best = course.best
        tell(TrainEnd(course.step, total, course.end or "stopped", best.step if best else None))
        if control.stopped:
            raise RunStopped(course.step, total)
        if best and best.step != course.step:
            restore_adapter_state(job, learning.model, load_state(checkpoints.best))
        return Fit(tuple(course.steps), tuple(course.validations), course.before, best, peak())


def _all(watches: list[Watch]) -> Watch:
    """One that tells all of them, in order."""

    def tell(event: Event) -> None:
        for watch in watches:
            watch(event)

    return tell


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def _recomputed(model: Any, *, wanted: bool) -> Iterator[None]:
    """Layers compute their activations again in the backward pass, where that is wanted.

    transformers makes what goes into the first layer require a gradient too, as k-bit preparation
    does. Done here and not by the Trainer, which leaves both on the model.
    """
    if not wanted:
        yield
        return
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # before 5.23
    getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(model, f"{kind}_checkpointing_disable")()
        model.disable_input_require_grads()
