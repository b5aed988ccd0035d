"""The curves of a run for TensorBoard, where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from adapterhub.train.result import Event, TrainStep, Validation, Watch


@contextmanager
def tensorboard(folder: Path, *, after: int) -> Iterator[Watch]:
    """Gives what writes events to `folder`. Of a run that is resumed, what is there behind step `after` is dropped.

    Without TensorBoard nothing is written.
    """
    if find_spec("tensorboard") is None:
        yield lambda event: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(log_dir=str(folder), purge_step=after + 1 if after else None) as writer:

        def write(event: Event) -> None:
            if isinstance(event, TrainStep):
                writer.add_scalar("train/loss", event.loss, event.step)
                writer.add_scalar("train/learning_rate", event.learning_rate, event.step)
            elif isinstance(event, Validation):
                writer.add_scalar("validation/loss", event.loss, event.step)

        yield write
