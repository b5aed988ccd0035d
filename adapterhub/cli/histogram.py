"""A histogram of lengths on stdout."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from adapterhub.data.lengths import Lengths

WIDTH = 50
"""Most characters of a bar."""


def echo_histogram(lengths: Lengths) -> None:
    """A bar for each range of lengths; every range with records has some bar."""
    spans = [f"{each.first}-{each.last}" if each.last > each.first else str(each.first) for each in lengths.bins]
    most = max(each.records for each in lengths.bins)
    columns = max(map(len, (*spans, lengths.unit))), max(len(str(most)), len("records"))
    room = max(10, min(WIDTH, shutil.get_terminal_size().columns - sum(columns) - 6))
    mark = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    click.echo(f"  {lengths.unit:>{columns[0]}}  {'records':>{columns[1]}}")
    for span, each in zip(spans, lengths.bins, strict=True):
        bar = click.style(mark * -(-each.records * room // most), fg="cyan") if each.records else ""
        click.echo(f"  {span:>{columns[0]}}  {each.records:>{columns[1]}}  {bar}".rstrip())
