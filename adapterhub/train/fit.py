"""The optimizer's steps, made by a trainer of transformers or TRL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from adapterhub.train.learning import Learning
from adapterhub.train.result import Progress
from adapterhub.train.step_log import StepLog
from adapterhub.train.trainer import make_trainer


class Fit(NamedTuple):
    """What the steps did: the loss of each, the tokens seen (no pads), and the time."""

    losses: tuple[float, ...]
    tokens: int
    seconds: float
    validation_before: float | None
    """As the objective measures it, with the adapter as it starts; None when nothing is held out."""
    validation_after: float | None


def fit(learning: Learning, progress: Progress | None = None) -> Fit:
    """Train the adapter on `learning.model` in place. AdamW, linear warmup and decay.

    Raises ConfigError at the first step whose loss is not finite.
    """
    job = learning.job
    log = StepLog(job.config, progress)
    with tempfile.TemporaryDirectory() as scratch:
        trainer: Any = make_trainer(learning, scratch, [log])
        measure = job.goal.objective.measure
        before = trainer.evaluate()[measure] if job.held_out else None
        started = time.perf_counter()
        with _checkpoints(job.base.model, wanted=job.preset.gradient_checkpointing):
            trainer.train()
        seconds = time.perf_counter() - started
        after = trainer.evaluate()[measure] if job.held_out else None
    return Fit(tuple(log.losses), int(trainer.state.num_input_tokens_seen), seconds, before, after)


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
