"""The steps of an objective that is a loss over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from adapterhub.encoder import IGNORED
from adapterhub.train.learning import Learning
from adapterhub.train.response_loss import mean_loss
from adapterhub.train.step_batches import StepBatches


class LossTrainer(Trainer):
    """Means over the learned tokens of a whole optimizer step, however it is cut into batches and over processes."""

    def __init__(self, learning: Learning, **settings: Any) -> None:
        super().__init__(**settings)
        self.model_accepts_loss_kwargs = True  # the loss is a mean over the step's tokens, not the batch's
        self._loss_shifts_labels = False
        self._learning = learning

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's part of each batch of all. Not shared out by accelerate, which would fill up the last one."""
        job, arguments = self._learning.job, self.args
        batches = StepBatches(
            [len(row["input_ids"]) for row in job.train],
            rows=arguments.per_device_train_batch_size * job.processes.count,
            batches_a_step=arguments.gradient_accumulation_steps,
            by_length=not job.replays,  # replayed rows are of other lengths, and would have batches of their own
            seed=job.config.seed,
            processes=job.processes,
        )
        loader: Any = DataLoader(
            job.train,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=arguments.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        if num_items_in_batch is None:
            num_items_in_batch = (inputs["labels"] != IGNORED).sum()
        loss: Tensor = _summed(self._learning, model, inputs) / num_items_in_batch
        return loss * int(self.accelerator.num_processes)  # whose gradients are averaged

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """The validation loss, on every process, over all rows that are held out."""
        assert self.model is not None
        metrics = {f"{metric_key_prefix}_loss": validation_loss(self._learning, self.model)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def validation_loss(learning: Learning, model: Any) -> float:
    """The mean over all learned tokens of what is held out, with `model`, the bare base or an adapter on it."""
    job = learning.job
    return mean_loss(
        model,
        job.held_out,
        batch_size=job.config.batch_size,
        device=job.base.device,
        loss=lambda model, batch: _summed(learning, model, batch),
        collate=lambda rows: job.goal.loss.collate(job.goal.options, rows),
    )


def _summed(learning: Learning, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    return learning.goal.loss.loss(learning.goal.options, learning, model, batch)
