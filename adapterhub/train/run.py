"""One training run: from settings to a saved adapter that was checked against its plan, or to a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.errors import ConflictError
from adapterhub.new_folder import new_folder
from adapterhub.objective import LossObjective
from adapterhub.train.config import TrainConfig
from adapterhub.train.disk import written
from adapterhub.train.fit import fit
from adapterhub.train.forgetting import general_loss
from adapterhub.train.job import TrainJob, Warn
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import validation_loss
from adapterhub.train.placed import Save, placed
from adapterhub.train.processes import Processes
from adapterhub.train.provenance import Figures
from adapterhub.train.result import Event, Progress, TrainedModel, TrainResult, TrainStep, Watch
from adapterhub.train.run_folder import RunFolder
from adapterhub.train.samples import answers, samples
from adapterhub.train.sharding import gather


def train(
    config: TrainConfig,
    into: Path,
    *,
    base: BaseModel | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    folder: RunFolder | None = None,
    warn: Warn | None = None,
) -> TrainResult:
    """Train an adapter and save it in PEFT's layout in folder `into`, which is new or empty; with method full, a model.

    A `base` that is already loaded is used as it is, and is as before afterwards. `progress` is called with every
    step, `watch` with validations, checkpoints and the end too. `stop` is asked after every step whether to end the
    run there. A `folder`, opened by `RunFolder.open`, takes checkpoints and the log; without one there are none.
    `warn` is told what looks wrong with the data, before the base loads. Under `torchrun` the processes share each
    step, the first one writes to its `into` what all of them return, and only it tells, logs and has a folder.

    Raises as `TrainJob.prepare` for what was given, ConflictError when `into` holds something, ConfigError when the
    loss did not stay finite or a resumed run is not what it was, UnavailableError when a disk takes no more, and
    RunStopped when `stop` said so. Whatever it raises, nothing is in `into`.
    """
    with Processes.now().joined():
        if into.exists() and any(into.iterdir()):
            raise ConflictError(f"{into}: not empty")
        check = folder.check_settings if folder else lambda settings: None
        job = TrainJob.prepare(config, base, warn, check)
        if folder:
            folder.begin(job.config, job.facts)
        return _run(job, into, folder, _both(progress, watch), stop)


def _run(job: TrainJob, into: Path, folder: RunFolder | None, watch: Watch, stop: Callable[[], bool]) -> TrainResult:
    evaluations = {}
    forgetting = {"general_loss_base": general_loss(job, job.base.model)}
    if job.held_out and isinstance(job.goal.objective, LossObjective):
        evaluations["validation_loss_before"] = validation_loss(Learning(job, job.base.model), job.base.model)
    before = answers(job, job.base.model)
    torch.manual_seed(job.config.seed)
    with placed(job) as (model, save):
        fitted = fit(Learning(job, model), folder=folder, watch=watch, stop=stop)
        if fitted.validation_before is not None and fitted.best is not None:
            measure = job.goal.objective.measure.replace("eval", "validation", 1)
            evaluations.setdefault(f"{measure}_before", fitted.validation_before)
            evaluations[f"{measure}_start"] = fitted.validation_before
            evaluations[f"{measure}_after"] = fitted.best.loss
        forgetting["general_loss_adapter"] = general_loss(job, model)
        answered = samples(job, before, answers(job, model))
        gather(model)
        best_step = None if fitted.best is None else fitted.best.step
        figures = Figures(len(fitted.steps), best_step, evaluations, forgetting)
        made, saved_in = job.processes.from_first(lambda: (_saved(save, into, figures), into))
    return TrainResult(
        folder=saved_in,
        made=made,
        loss_before=evaluations.get("validation_loss_before"),
        loss_after=evaluations.get("validation_loss_after"),
        history=fitted.steps,
        validations=fitted.validations,
        best_step=best_step,
        peak_bytes=fitted.peak_bytes,
        samples=answered,
    )


def _saved(save: Save, into: Path, figures: Figures) -> Adapter | TrainedModel:
    """In `into` whole, or not at all."""
    with new_folder(into) as partial, written(into, "what was trained"):
        made = save(partial, figures)
    if isinstance(made, TrainedModel):
        return replace(made, base=made.base.model_copy(update={"id": into.name}))
    return read_folder(into)


def _both(progress: Progress | None, watch: Watch | None) -> Watch:
    """One that tells `progress` of steps and `watch` of everything."""

    def tell(event: Event) -> None:
        if progress is not None and isinstance(event, TrainStep):
            progress(event)
        if watch is not None:
            watch(event)

    return tell
