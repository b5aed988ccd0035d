"""The method's part in a trainer's steps, whatever trainer it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback

from adapterhub.train.job import TrainJob

if TYPE_CHECKING:
    Base = Trainer
else:
    Base = object


class MethodSteps(Base):
    """Adds the method's own term to the loss of each step. Mixed into the trainer of a run, in front of it."""

    job: TrainJob

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        found = super().compute_loss(model, inputs, *args, **kwargs)
        if not model.training or self.job.adapter is None:
            return found
        adapted: Any = self.model
        extra = self.job.method.extra_loss(self.job.options, adapted)
        if extra is None:
            return found
        if self._is_scaled(kwargs.get("num_items_in_batch")):  # the trainer does not divide by it then
            extra = extra / self.current_gradient_accumulation_steps
        return (found[0] + extra, *found[1:]) if isinstance(found, tuple) else found + extra

    def _is_scaled(self, items: Any) -> bool:
        """Whether the trainer's own loss is already a share of the step's, as `Trainer.training_step` decides it."""
        if self.loss_is_scaled_for_ga is not None:
            return self.loss_is_scaled_for_ga
        return (self.model_accepts_loss_kwargs and items is not None) or self.compute_loss_func is not None


class MethodStep(TrainerCallback):
    """Tells the method of every step, between the optimizer's and the end of its gradients."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self._job.adapter is not None:
            self._job.method.stepped(self._job.options, model, state.global_step + 1)
