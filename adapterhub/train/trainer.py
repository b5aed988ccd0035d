"""The trainer of a run: the objective's own, or the core's for a loss over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adapterhub.objective import Fitting, LossObjective
from adapterhub.train.checkpoint_folder import CheckpointFolder
from adapterhub.train.checkpoints import Checkpoints
from adapterhub.train.config import TrainConfig
from adapterhub.train.course import Course
from adapterhub.train.epoch_order import EpochOrder
from adapterhub.train.job import TrainJob
from adapterhub.train.learning import Learning
from adapterhub.train.loss_trainer import LossTrainer
from adapterhub.train.method_steps import MethodStep, MethodSteps
from adapterhub.train.sharding import check_sharding
from adapterhub.train.tensors_kept import tensors_kept
from adapterhub.train.unreported import Unreported


def make_trainer(
    learning: Learning, course: Course, checkpoints: CheckpointFolder, callbacks: Sequence[TrainerCallback]
) -> Trainer:
    """A trainer of the adapter on `learning.model`, ready for its first step or to go on from a checkpoint.

    Raises as the objective's `fitting`.
    """
    job = learning.job
    fitting = _fitting(learning)
    settings = _settings(job, str(checkpoints.folder)) | dict(fitting.settings)
    parts = (Checkpoints, EpochOrder, MethodSteps, Unreported, fitting.trainer)
    shared = {"job": job, "course": course, "checkpoints": checkpoints}
    made: Any = type(f"Run{fitting.trainer.__name__}", parts, shared)
    with tensors_kept(learning.model):
        trainer: Trainer = made(
            model=learning.model,
            args=fitting.arguments(**settings),
            train_dataset=job.train,
            eval_dataset=job.held_out or None,
            callbacks=[*callbacks, MethodStep(job)],
            **fitting.keywords,
        )
    check_sharding(job, trainer.accelerator)
    trainer.remove_callback(PrinterCallback)  # prints every log to stdout, which is for results
    return trainer


def _fitting(learning: Learning) -> Fitting:
    objective, options = learning.goal
    if not isinstance(objective, LossObjective):
        return objective.fitting(options, learning)
    keywords = {"learning": learning, "data_collator": lambda rows: objective.collate(options, rows)}
    return Fitting(LossTrainer, TrainingArguments, {}, keywords)


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
        "per_device_train_batch_size": config.batch_size // job.processes.count,
        "per_device_eval_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulate,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _schedule(config),
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "include_num_input_tokens_seen": "non_padding",
        "use_cpu": job.base.device.type == "cpu",
        "dataloader_pin_memory": job.base.device.type != "cpu",
        "bf16": False,  # the adapter's tensors stay fp32; the frozen base computes in its own dtype
        "gradient_checkpointing": None,  # TRL would switch it on, and leave it on; see `fit`
        "label_names": ["labels"],
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # `RunControl` decides, and on validation too
        "report_to": "none",
        "disable_tqdm": True,
        **chosen,
    }


def _schedule(config: TrainConfig) -> str:
    """As transformers calls it, whose constant schedule would pass over the warmup."""
    return "constant_with_warmup" if config.schedule == "constant" and config.warmup else str(config.schedule)
