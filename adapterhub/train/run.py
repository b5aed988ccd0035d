"""One training run: from settings to a saved adapter that was checked against its plan, or to a model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from adapterhub.base import BaseModel
from adapterhub.errors import ConflictError
from adapterhub.objective import LossObjective
from adapterhub.train.config import TrainConfig
from adapterhub.train.fit import fit
from adapterhub.train.forgetting import general_loss
from adapterhub.train.job import TrainJob
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import validation_loss
from adapterhub.train.placed import placed
from adapterhub.train.processes import Processes
from adapterhub.train.provenance import Figures
from adapterhub.train.result import Progress, TrainResult
from adapterhub.train.sharding import gather


def train(
    config: TrainConfig, into: Path, *, base: BaseModel | None = None, progress: Progress | None = None
) -> TrainResult:
    """Train an adapter and save it in PEFT's layout in folder `into`, which is new or empty; with method full, a model.

    A `base` that is already loaded is used as it is, and is as before afterwards. Under `torchrun` the processes share
    each step, and the first one writes to its `into` what all of them return.
    Raises as `TrainJob.prepare` for what was given, ConflictError when `into` holds something, and
    ConfigError when the loss did not stay finite.
    """
    with Processes.now().joined():
        return _train(config, into, base, progress)


def _train(config: TrainConfig, into: Path, base: BaseModel | None, progress: Progress | None) -> TrainResult:
    if into.exists() and any(into.iterdir()):
        raise ConflictError(f"{into}: not empty")
    job = TrainJob.prepare(config, base)
    evaluations = {}
    forgetting = {"general_loss_base": general_loss(job, job.base.model)}
    if job.held_out and isinstance(job.goal.objective, LossObjective):
        evaluations["validation_loss_before"] = validation_loss(Learning(job, job.base.model), job.base.model)
    torch.manual_seed(config.seed)
    with placed(job) as (model, save):
        fitted = fit(Learning(job, model), progress if job.processes.first else None)
        if fitted.validation_before is not None and fitted.validation_after is not None:
            evaluations.setdefault("validation_loss_before", fitted.validation_before)
            evaluations["validation_loss_start"] = fitted.validation_before
            evaluations["validation_loss_after"] = fitted.validation_after
        forgetting["general_loss_adapter"] = general_loss(job, model)
        gather(model)
        figures = Figures(len(fitted.losses), evaluations, forgetting)
        made, folder = job.processes.from_first(lambda: (save(into, figures), into))
    return TrainResult(
        folder=folder,
        made=made,
        loss_before=evaluations.get("validation_loss_before"),
        loss_after=evaluations.get("validation_loss_after"),
        losses=fitted.losses,
        tokens=fitted.tokens,
        seconds=fitted.seconds,
    )
