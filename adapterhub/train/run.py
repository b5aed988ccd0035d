"""One training run: from settings to a saved adapter that was checked against its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.errors import ConflictError
from adapterhub.new_folder import new_folder
from adapterhub.objective import LossObjective
from adapterhub.train.attach import attached
from adapterhub.train.choice import Choice
from adapterhub.train.config import TrainConfig
from adapterhub.train.defaults import with_defaults
from adapterhub.train.disk import written
from adapterhub.train.fit import fit
from adapterhub.train.forgetting import general_loss
from adapterhub.train.job import TrainJob, Warn
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import validation_loss
from adapterhub.train.result import Event, Progress, TrainResult, TrainStep, Watch
from adapterhub.train.run_folder import RunFolder
from adapterhub.train.save import Figures, save
from adapterhub.train.start import start_kept


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
    """Train an adapter and save it in PEFT's layout in folder `into`, which is new or empty.

    A `base` that is already loaded is used as it is, and is as before afterwards. `progress` is called with every
    step, `watch` with validations, checkpoints and the end too. `stop` is asked after every step whether to end the
    run there. A `folder`, opened by `RunFolder.open`, takes checkpoints and the log; without one there are none.
    `warn` is told what looks wrong with the data, before the base loads.

    Raises as `TrainJob.prepare` for what was given, ConflictError when `into` holds something, ConfigError when the
    loss did not stay finite or a resumed run is not what it was, UnavailableError when a disk takes no more, and
    RunStopped when `stop` said so. Whatever it raises, nothing is in `into`.
    """
    if into.exists() and any(into.iterdir()):
        raise ConflictError(f"{into}: not empty")
    if folder:
        folder.check_settings(with_defaults(config, Choice.of(config.method, config.options)))
    job = TrainJob.prepare(config, base, warn)
    if folder:
        folder.begin(job.config, job.facts)
    evaluations = {}
    forgetting = {"general_loss_base": general_loss(job, job.base.model)}
    if job.held_out and isinstance(job.goal.objective, LossObjective):
        evaluations["validation_loss_before"] = validation_loss(Learning(job, job.base.model), job.base.model)
    torch.manual_seed(config.seed)
    with (
        attached(job) as model,
        start_kept(model, needed=job.method.saves_difference(job.options)) as start,
    ):
        fitted = fit(Learning(job, model), folder=folder, watch=_both(progress, watch), stop=stop)
        if fitted.validation_before is not None and fitted.best is not None:
            evaluations.setdefault("validation_loss_before", fitted.validation_before)
            evaluations["validation_loss_after"] = fitted.best.loss
        forgetting["general_loss_adapter"] = general_loss(job, model)
        best_step = None if fitted.best is None else fitted.best.step
        figures = Figures(len(fitted.steps), best_step, evaluations, forgetting)
        with new_folder(into) as partial, written(into, "the adapter"):
            save(job, model, partial, start=start, figures=figures)
    return TrainResult(
        folder=into,
        adapter=read_folder(into),
        loss_before=evaluations.get("validation_loss_before"),
        loss_after=evaluations.get("validation_loss_after"),
        history=fitted.steps,
        validations=fitted.validations,
        best_step=best_step,
        peak_bytes=fitted.peak_bytes,
    )


def _both(progress: Progress | None, watch: Watch | None) -> Watch:
    """One that tells `progress` of steps and `watch` of everything."""

    def tell(event: Event) -> None:
        if progress is not None and isinstance(event, TrainStep):
            progress(event)
        if watch is not None:
            watch(event)

    return tell
