"""A training run on stderr: a bar on a terminal, else a line for every tenth of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from adapterhub.train.result import Progress, TrainStep

LINES = 10


@contextmanager
def step_progress(label: str = "training") -> Iterator[Progress]:
    """Gives what `train` calls after every step."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("loss {task.fields[loss]:.4f}"),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, loss=float("nan"))
        yield lambda step: bar.update(task, completed=step.step, total=step.total, loss=step.loss)


def _lines(label: str) -> Progress:
    def show(step: TrainStep) -> None:
        if step.step * LINES // step.total > (step.step - 1) * LINES // step.total:
            click.echo(f"{label}: step {step.step}/{step.total}, loss {step.loss:.4f}", err=True)

    return show
