"""A training run on stderr: a bar on a terminal, else a line for every tenth of it, or every event as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from adapterhub.train.result import Event, TrainStep, Validation, Watch, as_json

LINES = 10


@contextmanager
def run_progress(label: str = "training", *, as_lines_of_json: bool = False) -> Iterator[Watch]:
    """Gives what `train` tells its events."""
    if as_lines_of_json:
        yield lambda event: click.echo(json.dumps(as_json(event)), err=True)
        return
    if not sys.stderr.isatty():
        yield _Lines(label)
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("loss {task.fields[loss]:.4f}{task.fields[validation]}"),
        rich_progress.TextColumn("{task.fields[speed]:.0f} tokens/s, {task.fields[left]} left"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        pace = _Pace()
        task = bar.add_task(label, total=None, loss=float("nan"), validation="", speed=0.0, left="?")

        def show(event: Event) -> None:
            if isinstance(event, TrainStep):
                pace.add(event)
                bar.update(
                    task, completed=event.step, total=event.total, loss=event.loss, speed=pace.speed, left=pace.left
                )
            elif isinstance(event, Validation):
                bar.update(task, validation=f", validation {event.loss:.4f}")

        yield show


class _Pace:
    """How fast the steps of this process go."""

    def __init__(self) -> None:
        self._tokens = 0
        self._seconds = 0.0
        self._steps = 0
        self._missing = 0

    def add(self, step: TrainStep) -> None:
        self._tokens += step.tokens
        self._seconds += step.seconds
        self._steps += 1
        self._missing = step.total - step.step

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self._tokens / self._seconds if self._seconds else 0.0

    @property
    def left(self) -> str:
        """The time that the steps to come take, if they are like those before."""
        return _time(self._missing * self._seconds / self._steps) if self._steps else "?"


class _Lines:
    """Plain lines, a tenth of the run each, and what validation said."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._pace = _Pace()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Validation):
            click.echo(f"{self._label}: validation loss {event.loss:.4f} after step {event.step}", err=True)
        if not isinstance(event, TrainStep):
            return
        self._pace.add(event)
        if event.step * LINES // event.total > (event.step - 1) * LINES // event.total:
            click.echo(
                f"{self._label}: step {event.step}/{event.total}, loss {event.loss:.4f}, "
                f"{self._pace.speed:.0f} tokens/s, {self._pace.left} left",
                err=True,
            )


def _time(seconds: float) -> str:
    """As `1:02:03`, or `45s` below a minute."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
