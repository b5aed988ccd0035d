"""One training run: from settings to a saved adapter that was checked against its plan."""

from __future__ import annotations

from pathlib import Path

import torch

from adapterhub.base import BaseModel
from adapterhub.errors import ConflictError
from adapterhub.objective import LossObjective
from adapterhub.train.attach import attached
from adapterhub.train.config import TrainConfig
from adapterhub.train.fit import fit
from adapterhub.train.forgetting import general_loss
from adapterhub.train.job import TrainJob
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import validation_loss
from adapterhub.train.result import Progress, TrainResult, Validation
from adapterhub.train.samples import answers, samples
from adapterhub.train.save import Figures, save
from adapterhub.train.start import start_kept


def train(
    config: TrainConfig, into: Path, *, base: BaseModel | None = None, progress: Progress | None = None
) -> TrainResult:
    """Train an adapter and save it in PEFT's layout in folder `into`, which is new or empty.

    A `base` that is already loaded is used as it is, and is as before afterwards.
    Raises as `TrainJob.prepare` for what was given, ConflictError when `into` holds something, and
    ConfigError when the loss did not stay finite.
    """
    if into.exists() and any(into.iterdir()):
        raise ConflictError(f"{into}: not empty")
    job = TrainJob.prepare(config, base)
    evaluations = {}
    forgetting = {"general_loss_base": general_loss(job, job.base.model)}
    if job.held_out and isinstance(job.goal.objective, LossObjective):
        evaluations["validation_loss_before"] = validation_loss(Learning(job, job.base.model), job.base.model)
    before = answers(job, job.base.model)
    torch.manual_seed(config.seed)
    with (
        attached(job) as model,
        start_kept(model, needed=job.method.saves_difference(job.options)) as start,
    ):
        fitted = fit(Learning(job, model), progress)
        if fitted.validation_before is not None and fitted.validation_after is not None:
            evaluations.setdefault("validation_loss_before", fitted.validation_before)
            evaluations["validation_loss_after"] = fitted.validation_after
        forgetting["general_loss_adapter"] = general_loss(job, model)
        answered = samples(job, before, answers(job, model))
        figures = Figures(len(fitted.losses), evaluations, forgetting)
        adapter = save(job, model, into, start=start, figures=figures)
    return TrainResult(
        folder=into,
        adapter=adapter,
        loss_before=evaluations.get("validation_loss_before"),
        loss_after=evaluations.get("validation_loss_after"),
        losses=fitted.losses,
        tokens=fitted.tokens,
        seconds=fitted.seconds,
        validations=tuple(Validation(len(fitted.losses), loss) for loss in _after(evaluations)),
        samples=answered,
    )


def _after(evaluations: dict[str, float]) -> list[float]:
    return [loss for name, loss in evaluations.items() if name == "validation_loss_after"]
