"""Answers as they come, on stderr: a bar on a terminal, else a line for every tenth of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

LINES = 10


@contextmanager
def answer_progress(label: str = "evaluating") -> Iterator[Callable[[int, int], None]]:
    """Gives what is called with how many answers there are, and how many there will be."""
    if not sys.stderr.isatty():
        yield lambda done, total: _line(label, done, total)
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _line(label: str, done: int, total: int) -> None:
    if done * LINES // total > (done - 1) * LINES // total:
        click.echo(f"{label}: {done}/{total} answers", err=True)
