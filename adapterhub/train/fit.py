"""The optimizer's steps, made by the transformers Trainer."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from peft import PeftModel
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adapterhub.errors import ConfigError
from adapterhub.train.config import TrainConfig
from adapterhub.train.examples import IGNORED, collate
from adapterhub.train.job import TrainJob
from adapterhub.train.response_loss import summed_loss
from adapterhub.train.result import Progress, TrainStep


class Fit(NamedTuple):
    """What the steps did: the loss of each, the tokens seen (no pads), and the time."""

    losses: tuple[float, ...]
    tokens: int
    seconds: float


def fit(job: TrainJob, model: PeftModel, progress: Progress | None = None) -> Fit:
    """Train `model`, the adapter on `job.base`, in place. AdamW, linear warmup and decay.

    Raises ConfigError at the first step whose loss is not finite.
    """
    log = _StepLog(job.config, progress)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = _ResponseTrainer(
            job,
            model=model,
            args=_arguments(job, scratch),
            train_dataset=job.train,
            data_collator=collate,
            callbacks=[log, _MethodStep(job)],
        )
        trainer.remove_callback(PrinterCallback)  # prints every log to stdout, which is for results
        started = time.perf_counter()
        with _checkpoints(job.base.model, wanted=job.preset.gradient_checkpointing):
            trainer.train()
        seconds = time.perf_counter() - started
    return Fit(tuple(log.losses), int(trainer.state.num_input_tokens_seen), seconds)


def _arguments(job: TrainJob, scratch: str) -> TrainingArguments:
    config, preset = job.config, job.preset
    chosen: dict[str, Any] = (
        {"optim": preset.cuda_optimizer} if preset.cuda_optimizer and job.base.device.type == "cuda" else {}
    )
    return TrainingArguments(
        output_dir=scratch,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,
        seed=config.seed,
        train_sampling_strategy="group_by_length",
        include_num_input_tokens_seen="non_padding",
        use_cpu=job.base.device.type == "cpu",
        dataloader_pin_memory=job.base.device.type != "cpu",
        bf16=False,  # the adapter's tensors stay fp32; the frozen base computes in its own dtype
        label_names=["labels"],
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **chosen,
    )


@contextmanager
def _checkpoints(model: Any, *, wanted: bool) -> Iterator[None]:
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


class _ResponseTrainer(Trainer):
    """Means over the response tokens of a whole optimizer step, and the method's own term."""

    def __init__(self, job: TrainJob, **settings: Any) -> None:
        super().__init__(**settings)
        self._job = job

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        if num_items_in_batch is None:
            num_items_in_batch = (inputs["labels"] != IGNORED).sum()
        loss = summed_loss(model, inputs) / num_items_in_batch
        extra = self._job.method.extra_loss(self._job.options, model)
        return loss if extra is None else loss + extra


class _MethodStep(TrainerCallback):
    """Tells the method of every step, between the optimizer's and the end of its gradients."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._job.method.stepped(self._job.options, model, state.global_step + 1)


class _StepLog(TrainerCallback):
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
