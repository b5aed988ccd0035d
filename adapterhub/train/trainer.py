"""The trainer of a run: the objective's own, or the core's for a loss over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adapterhub.objective import Fitting, LossObjective
from adapterhub.train.job import TrainJob
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import LossTrainer
from adapterhub.train.method_steps import MethodStep, MethodSteps


def make_trainer(learning: Learning, folder: str, callbacks: Sequence[TrainerCallback]) -> Trainer:
    """A trainer of the adapter on `learning.model`, ready for its first step; `folder` takes its checkpoints.

    Raises as the objective's `fitting`.
    """
    job = learning.job
    fitting = _fitting(learning)
    settings = _settings(job, folder) | dict(fitting.settings)
    made: Any = type(f"Run{fitting.trainer.__name__}", (MethodSteps, fitting.trainer), {"job": job})
    trainer: Trainer = made(
        model=learning.model,
        args=fitting.arguments(**settings),
        train_dataset=job.train,
        eval_dataset=job.held_out or None,
        callbacks=[*callbacks, MethodStep(job)],
        **fitting.keywords,
    )
    trainer.remove_callback(PrinterCallback)  # prints every log to stdout, which is for results
    return trainer


def _fitting(learning: Learning) -> Fitting:
    objective, options = learning.goal
    if not isinstance(objective, LossObjective):
        return objective.fitting(options, learning)
    keywords = {"learning": learning, "data_collator": lambda rows: objective.collate(options, rows)}
    # replayed rows are of other lengths: sorted by them, they would have batches of their own
    sampling = "random" if learning.job.replays else "group_by_length"
    return Fitting(LossTrainer, TrainingArguments, {"train_sampling_strategy": sampling}, keywords)


def _settings(job: TrainJob, folder: str) -> dict[str, Any]:
    """What every trainer is told."""
    config, preset = job.config, job.preset
    chosen: dict[str, Any] = (
        {"optim": preset.cuda_optimizer} if preset.cuda_optimizer and job.base.device.type == "cuda" else {}
    )
    return {
        "output_dir": folder,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup,
        "seed": config.seed,
        "include_num_input_tokens_seen": "non_padding",
        "use_cpu": job.base.device.type == "cpu",
        "dataloader_pin_memory": job.base.device.type != "cpu",
        "bf16": False,  # the adapter's tensors stay fp32; the frozen base computes in its own dtype
        "label_names": ["labels"],
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **chosen,
    }
